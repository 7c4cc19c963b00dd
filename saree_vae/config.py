"""Settings: one frozen model per concern, and one `load` that joins defaults, a YAML file and overrides."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import SareeError

IMAGE_SIZES = tuple(range(64, 257, 32))
MLP_SIZES = range(4, 129)  # fully connected networks take any of these; they grow with the square of it


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Section):
    """What is learned: the networks, the two latent halves and the likelihood."""

    image_size: int = Field(128, description="Side of the square picture, in pixels: 64 to 256 in steps of 32.")
    channels: Literal[1, 3] = Field(3, description="3 for colour; 1, with encoder 'mlp' only, for grey pictures.")
    binary: bool = Field(
        False,
        description="Read each pixel as the chance of a one and draw it anew at every look (likelihood 'bernoulli').",
    )
    encoder: str = Field(
        "conv",
        description="Motif encoder: 'conv' (our own), 'timm:NAME' for any timm model, or 'mlp' for tiny pictures.",
    )
    pretrained: bool | str = Field(
        False,
        description="For timm encoders: false, true (downloads weights) or the path of a weights file. Weights learnt "
        "so are trained at a tenth of the learning rate.",
    )
    width: int = Field(
        32, ge=8, le=1024, description="Channels of the first stage; later stages double it. Of 'mlp', hidden units."
    )
    motif_dim: int = Field(
        64, ge=2, le=1024, description="Latent dimensions for motif, weave, border and layout; of 'vq', how many codes."
    )
    colour_dim: int = Field(
        32,
        ge=0,
        le=1024,
        description="Latent dimensions for the palette; 0: no colour half, which nothing then teaches.",
    )
    palette: int = Field(8, ge=2, le=64, description="Colours that the decoder mixes each pixel from.")
    likelihood: Literal["gaussian", "gaussian_pixel", "laplace", "bernoulli", "discretised_logistic"] = Field(
        "gaussian",
        description="p(x|z); 'gaussian' shares one sigma, 'gaussian_pixel' has one per pixel, 'discretised_logistic' "
        "is a mixture over the 256 levels.",
    )
    sigma: Literal["analytic", "learned"] | Annotated[float, Field(ge=0.01, le=1)] = Field(
        "analytic", description="The shared scale of 'gaussian' and 'laplace': how it is set, or a number that stays."
    )
    posterior: Literal["gaussian", "full", "iaf", "point", "vq"] = Field(
        "gaussian",
        description="q(z|x): independent normals, any covariance, inverse autoregressive flows, a plain autoencoder's "
        "point, or for the motif a map of vector-quantised codes (VQ-VAE).",
    )
    flows: int = Field(4, ge=1, le=16, description="Steps of 'iaf'.")
    prior: Literal["normal", "mixture", "vamp"] = Field(
        "normal", description="p(z): standard normal, a learned mixture of normals, or the VampPrior."
    )
    components: int = Field(32, ge=1, le=2000, description="Normals of 'mixture', learned pictures of 'vamp'.")
    levels: int = Field(
        1, ge=1, le=5, description="Layers of latents; below the first, which search uses, they are maps of detail."
    )
    level_dim: int = Field(8, ge=1, le=512, description="Channels of a lower latent; of 'mlp', its dimensions.")
    conditional: bool = Field(
        False,
        description="Tell encoder and decoder the cluster where it is known, so that one can draw 'as a cluster'.",
    )
    classes: tuple[str, ...] = Field((), description="The clusters of 'conditional', filled in by training.")

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, name: str) -> str:
        if name not in ("conv", "mlp") and not (name.startswith("timm:") and len(name) > 5):
            raise ValueError("expected 'conv', 'mlp' or 'timm:NAME', for example 'timm:mobilenetv3_small_100'")
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> Model:
        mlp = self.encoder == "mlp"
        sizes = MLP_SIZES if mlp else IMAGE_SIZES
        wrong = {
            f"image_size is {self.image_size}; expected one of {', '.join(map(str, IMAGE_SIZES))}"
            + (f", or with encoder 'mlp' {MLP_SIZES[0]} to {MLP_SIZES[-1]}" if mlp else ""): self.image_size
            not in sizes,
            "channels 1 needs encoder 'mlp'": self.channels == 1 and not mlp,
            "channels 1 has no palette, so it needs colour_dim 0": self.channels == 1 and self.colour_dim > 0,
            "colour_dim 1 is too few; take 0, or 2 and more": self.colour_dim == 1,
            f"pretrained needs a timm encoder, not '{self.encoder}'": bool(self.pretrained)
            and not self.encoder.startswith("timm:"),
            "binary needs likelihood 'bernoulli'": self.binary and self.likelihood != "bernoulli",
            "posterior 'vq' needs an encoder that keeps maps, not 'mlp'": self.posterior == "vq" and mlp,
            "posterior 'vq' has one level of codes and no others; set levels to 1": self.posterior == "vq"
            and self.levels > 1,
            f"prior 'vamp' needs posterior 'gaussian', not '{self.posterior}'": self.prior == "vamp"
            and self.posterior != "gaussian",
            f"posterior '{self.posterior}' has no density that a prior could be learned for; set prior to 'normal'": (
                self.posterior in ("point", "vq") and self.prior != "normal"
            ),
        }
        for told, is_wrong in wrong.items():
            if is_wrong:
                raise ValueError(told)
        return self


class Objective(Section):
    """What is minimised: the negative ELBO per pixel value, plus what teaches the two halves apart."""

    beta: float = Field(1.0, ge=0, description="Weight of the KL term; 1 is the true ELBO.")
    kl_warmup: float = Field(0.1, ge=0, le=1, description="Share of training over which beta rises from 0.")
    kl_cycles: int = Field(
        1, ge=1, description="How often beta rises so, evenly over training (Fu et al. 2019); 1 is the usual warm-up."
    )
    free_bits: float = Field(
        0.0,
        ge=0,
        description="KL, in nats per dimension, that costs nothing; of a level or under a mixture, of the whole.",
    )
    capacity: float | None = Field(
        None,
        ge=0,
        description="KL in nats that the latents are held to, rising from 0 in half of training, beta the pull.",
    )
    total_correlation: float = Field(
        0.0, ge=0, description="Further weight of the total correlation: beta-TCVAE with beta = 1 + this."
    )
    samples: int = Field(
        1, ge=1, le=5000, description="Draws of z in the importance-weighted bound (IWAE); 1: the ELBO."
    )
    commit: float = Field(0.25, ge=0, description="Weight of what keeps a VQ-VAE's encoder at its codes.")
    reconstruct: float = Field(1.0, ge=0, description="Weight of the negative ELBO per pixel value.")
    swap: float = Field(1.0, ge=0, description="Weight of decoding the motif of one view with the colour of another.")
    contrast_motif: float = Field(1.0, ge=0, description="Weight of InfoNCE on the motif half.")
    contrast_colour: float = Field(0.5, ge=0, description="Weight of InfoNCE on the colour half.")
    temperature: float = Field(0.1, gt=0, description="Temperature of InfoNCE on cosines.")
    labels: bool = Field(False, description="Also draw pictures of one cluster together, where clusters are known.")
    items: bool = Field(False, description="Also draw photographs of one item_id together, where items are known.")
    kin: bool = Field(
        False,
        description="Also draw motifs together that the model it begins with (--from) finds most like each other.",
    )
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
    optimizer: Literal["muon", "adamw"] = Field("muon", description="'muon' finds as much in about half the epochs.")
    learning_rate: float = Field(1.5e-3, gt=0, description="Peak learning rate; weights by muon take four times that.")
    weight_decay: float = Field(0.02, ge=0, description="Weight decay, in parts of the learning rate.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of steps over which the learning rate rises.")
    clip: float = Field(5.0, gt=0, description="Largest gradient norm; longer gradients are shortened to it.")
    ema: float = Field(0.995, ge=0, lt=1, description="Decay of the averaged weights that are kept.")
    precision: Literal["auto", "float32", "bf16"] = Field("auto", description="'auto' is bf16 where it pays.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="'auto' takes a GPU where there is one.")
    workers: int = Field(
        2, ge=0, description="Processes that make the views, at most one a core; 0 makes them in line."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of weights, order, views and noise.")
    pictures_every: int = Field(5, ge=1, description="Epochs between two saved grids of reconstructions.")


class Config(Section):
    model: Model = Model()
    objective: Objective = Objective()
    train: Train = Train()

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        model, objective = self.model, self.objective
        taught = {"swap": objective.swap, "contrast_colour": objective.contrast_colour}
        asked = [f"objective.{name}" for name, weight in taught.items() if weight]
        if not model.colour_dim and asked:
            raise ValueError(f"model.colour_dim is 0, so set {' and '.join(asked)} to 0")
        if model.channels == 1 and objective.contrast_motif:
            raise ValueError(
                "model.channels is 1: views are made of colour pictures only; set objective.contrast_motif to 0"
            )
        if objective.samples > 1 and model.posterior in ("point", "vq"):
            raise ValueError(
                f"objective.samples needs a density to weigh draws by, which posterior '{model.posterior}' has not"
            )
        scaled = model.likelihood in ("gaussian", "laplace") and model.sigma == "analytic"
        if objective.samples > 1 and scaled:
            raise ValueError(
                "objective.samples weighs draws by p(x|z), which model.sigma 'analytic' fits to them afterwards; "
                "set model.sigma to learned or to a number"
            )
        if objective.total_correlation and (model.posterior, model.prior) != ("gaussian", "normal"):
            raise ValueError("objective.total_correlation needs posterior 'gaussian' and prior 'normal'")
        return self


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


def of_text(text: str) -> Config | None:
    """What `save_text` wrote, settings it does not name at their defaults; None if it no longer is a config."""
    try:
        return Config.model_validate(yaml.safe_load(text))
    except (ValidationError, yaml.YAMLError):
        return None


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
    if first["type"] == "value_error" and not (first["loc"] and isinstance(first["input"], str | int)):
        return f"{'.'.join([name, *map(str, first['loc'])])}: {first['msg'].removeprefix('Value error, ')}"
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
