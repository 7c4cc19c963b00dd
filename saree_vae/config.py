"""Settings: one frozen model per concern, and one `load` that joins defaults, a YAML file and overrides."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import SareeError

IMAGE_SIZES = tuple(range(64, 257, 32))


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Section):
    """What is learned: the networks, the two latent halves and the likelihood."""

    image_size: int = Field(128, description="Side of the square picture, in pixels: 64 to 256 in steps of 32.")
    encoder: str = Field("conv", description="Motif encoder: 'conv' (our own) or 'timm:NAME' for any timm model.")
    pretrained: bool | str = Field(
        False, description="For timm encoders: false, true (downloads weights) or the path of a weights file."
    )
    width: int = Field(32, ge=8, le=256, description="Channels of the first stage; later stages double it.")
    motif_dim: int = Field(64, ge=2, le=1024, description="Latent dimensions for motif, weave, border and layout.")
    colour_dim: int = Field(32, ge=2, le=1024, description="Latent dimensions for the palette.")
    palette: int = Field(8, ge=2, le=64, description="Colours that the decoder mixes each pixel from.")
    likelihood: Literal["gaussian", "gaussian_pixel", "laplace", "bernoulli"] = Field(
        "gaussian", description="p(x|z); 'gaussian' shares one sigma, 'gaussian_pixel' has one per pixel."
    )
    sigma: Literal["analytic", "learned"] = Field(
        "analytic", description="How the shared scale of 'gaussian' and 'laplace' is set."
    )

    @field_validator("image_size")
    @classmethod
    def _known_size(cls, size: int) -> int:
        if size not in IMAGE_SIZES:
            raise ValueError(f"expected one of {', '.join(map(str, IMAGE_SIZES))}")
        return size

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, name: str) -> str:
        if name != "conv" and not (name.startswith("timm:") and len(name) > 5):
            raise ValueError("expected 'conv' or 'timm:NAME', for example 'timm:mobilenetv3_small_100'")
        return name


class Objective(Section):
    """What is minimised: the negative ELBO per pixel value, plus what teaches the two halves apart."""

    beta: float = Field(1.0, ge=0, description="Weight of the KL term; 1 is the true ELBO.")
    kl_warmup: float = Field(0.1, ge=0, le=1, description="Share of training over which beta rises from 0.")
    free_bits: float = Field(0.0, ge=0, description="KL, in nats per latent dimension, that costs nothing.")
    reconstruct: float = Field(1.0, ge=0, description="Weight of the negative ELBO per pixel value.")
    swap: float = Field(1.0, ge=0, description="Weight of decoding the motif of one view with the colour of another.")
    contrast_motif: float = Field(1.0, ge=0, description="Weight of InfoNCE on the motif half.")
    contrast_colour: float = Field(0.5, ge=0, description="Weight of InfoNCE on the colour half.")
    temperature: float = Field(0.1, gt=0, description="Temperature of InfoNCE on cosines.")
    labels: bool = Field(False, description="Also draw pictures of one cluster together, where clusters are known.")
    items: bool = Field(False, description="Also draw photographs of one item_id together, where items are known.")
    decode: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of a batch that is decoded; the rest is only contrasted, which takes less time.",
    )


class Train(Section):
    """How it is learned."""

    epochs: int = Field(40, ge=1, description="Passes over the training pictures.")
    batch_size: int = Field(64, ge=2, description="Pictures in a step, over all processes.")
    learning_rate: float = Field(1.5e-3, gt=0, description="Peak AdamW learning rate.")
    weight_decay: float = Field(0.02, ge=0, description="AdamW weight decay.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of steps over which the learning rate rises.")
    clip: float = Field(5.0, gt=0, description="Largest gradient norm; longer gradients are shortened to it.")
    ema: float = Field(0.995, ge=0, lt=1, description="Decay of the averaged weights that are kept.")
    precision: Literal["auto", "float32", "bf16"] = Field("auto", description="'auto' is bf16 where it pays.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="'auto' takes a GPU where there is one.")
    workers: int = Field(2, ge=0, description="Processes that make the training views; 0 makes them in line.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of weights, order, views and noise.")
    pictures_every: int = Field(5, ge=1, description="Epochs between two saved grids of reconstructions.")


class Config(Section):
    model: Model = Model()
    objective: Objective = Objective()
    train: Train = Train()


def config_folder() -> Path:
    """The packaged configs: inside the wheel, or beside the package in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def load(source: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a YAML file (or the name of a packaged config) and apply overrides such as "train.epochs=3".

    Raises:
        SareeError: no such file, an unknown setting (with the nearest name) or a value of the wrong type.
    """
    path = _find(source)
    values = _read_yaml(path)
    for override in overrides:
        _apply(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise SareeError(_explain(path.name, error)) from None


def save_text(config: Config) -> str:
    """The resolved config as YAML, every setting written out."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False)


def _find(source: str | Path) -> Path:
    path = Path(source)
    packaged = config_folder() / f"{source}.yaml"
    if path.is_file():
        return path
    if packaged.is_file():
        return packaged
    names = ", ".join(sorted(p.stem for p in config_folder().glob("*.yaml")))
    raise SareeError(f"{source}: no such config file; packaged configs are: {names}")


def _read_yaml(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise SareeError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise SareeError(f"{path}: expected sections such as 'model:', got {type(values).__name__}")
    return values


def _apply(values: dict, override: str) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot:
        raise SareeError(f"--set {override}: expected SECTION.NAME=VALUE, for example train.epochs=10")
    inner = values.setdefault(section, {})
    if not isinstance(inner, dict):
        raise SareeError(f"--set {override}: '{section}' is not a section")
    try:
        inner[key] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise SareeError(f"--set {override}: the value is not readable as YAML") from None


def _explain(name: str, error: ValidationError) -> str:
    """The first mistake in one sentence, with the nearest known name for an unknown one."""
    first = error.errors()[0]
    *where, key = map(str, first["loc"])
    place = ".".join([name, *where])
    if first["type"] == "extra_forbidden":
        known = _fields(where)
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        return f"{place}: '{key}' is not a setting; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: '{key}' is {first['input']!r}: {message[0].lower()}{message[1:]}"


def _fields(where: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for name in where:
        section = type(section.model_fields[name].default)
    return list(section.model_fields)
