"""A run folder's model: safetensors and YAML, nothing unpickled, known by a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from . import config
from .data import Item
from .errors import SareeError
from .files import atomic_write
from .images import margin_side
from .vae import VAE

# Part of the fingerprint: change the number with the code.
PREPROCESSING = "central square, a quarter larger, area-resampled, sRGB / 255; 2"
SEEN = "trained_on.txt"
MODELS = Path(__file__).parent / "models"  # that come with saree-vae, each known by its folder's name


@dataclass(frozen=True)
class Run:
    """A trained model as read from its run folder; `model` is in evaluation mode."""

    path: Path  # of a model that comes with saree-vae its name: what is written about it lies in a folder called so
    config: config.Config
    model: VAE
    fingerprint: str
    seen: frozenset[str] = frozenset()  # traces of the pictures it was trained on

    @property
    def read_size(self) -> int:
        """The side of the squares to read pictures at, for `encode`."""
        return margin_side(self.config.model.image_size)

    def trained_on(self, item: Item) -> bool:
        """Whether this picture, by its key and size, was among those that the run trained on."""
        return _trace(item) in self.seen

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def save(run: Path, settings: config.Config, weights: dict[str, torch.Tensor]) -> None:
    """Write `config.yaml` and `model.safetensors` into the run folder, each atomically."""
    save_config(run, settings)
    save_tensors(run / "model.safetensors", weights)


def save_config(run: Path, settings: config.Config) -> None:
    """Write `config.yaml` into the run folder, atomically."""
    with atomic_write(run / "config.yaml") as temporary:
        temporary.write_text(config.save_text(settings), encoding="utf-8")


def save_seen(run: Path, items: Sequence[Item], before: frozenset[str] = frozenset()) -> None:
    """Write `trained_on.txt`: which pictures the run trains on, so that none of them is ever measured on.

    `before` are traces of those that its weights were trained on before, `Run.seen` of where they come from.
    """
    traces = dict.fromkeys([*map(_trace, items), *sorted(before)])
    with atomic_write(run / SEEN) as temporary:
        text = "".join(f"{trace}\n" for trace in traces)
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def folder_of(run: str | Path) -> Path:
    """Where the files of a run are: in the folder itself, or where it names a model that comes with saree-vae, in that.

    Raises:
        SareeError: neither.
    """
    for folder in (Path(run), MODELS / run):
        if (folder / "model.safetensors").is_file() and (folder / "config.yaml").is_file():
            return folder
    known = " or ".join(sorted(folder.name for folder in MODELS.iterdir()))
    raise SareeError(
        f"{run}: not a run folder: expected model.safetensors and config.yaml, as `saree-vae train` writes; "
        f"or {known}, which comes with saree-vae"
    )


def load(run: str | Path, device: str = "auto") -> Run:
    """Read a run by its folder or name; the model is rebuilt from its own config, without the network.

    Raises:
        SareeError: no run (see `folder_of`), a damaged file, or weights of another config.
    """
    run, folder = Path(run), folder_of(run)
    weights_file = folder / "model.safetensors"
    settings = config.load(folder / "config.yaml")
    weights, _ = load_tensors(weights_file)
    if "motif_encoder.std" in weights:  # from before the motif encoder saw edges
        raise SareeError(f"{run}: trained by an earlier saree-vae, whose networks were others; train the run again")
    model = VAE(settings.model.model_copy(update={"pretrained": False}))  # the weights are all in the run
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise SareeError(
            f"{weights_file}: does not fit {folder / 'config.yaml'}: {str(error).splitlines()[1].strip()}"
        ) from None
    seen = folder / SEEN
    traces = seen.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if seen.exists() else ()
    known_as = fingerprint(weights_file, settings.model)
    return Run(run, settings, model.to(pick_device(device)).eval(), known_as, frozenset(traces))


def fingerprint(weights_file: Path, model: config.Model) -> str:
    """What an embedding depends on, as 64 hex digits: the weights and how a picture is prepared."""
    digest = hashlib.sha256(f"{PREPROCESSING}; {model.image_size}; ".encode())
    digest.update(weights_file.read_bytes())
    return digest.hexdigest()


def pick_device(name: str) -> str:
    """'auto' -> 'cuda' where there is a GPU, else 'cpu'.

    Raises:
        SareeError: another name, or a GPU is asked for and there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SareeError(f"device '{name}': expected auto, cpu or cuda")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SareeError("device 'cuda': no GPU that torch can use was found; take 'auto' or 'cpu'")
    return name


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors and text in one file, atomically."""
    with atomic_write(path) as temporary:
        # Not `save_file`: its own error for a full disk is no OSError.
        temporary.write_bytes(serialise({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read what `save_tensors` wrote.

    Raises:
        SareeError: the file is damaged or no safetensors.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise SareeError(f"{path}: damaged, or no safetensors file ({error})") from None


def _trace(item: Item) -> str:
    return f"{item.path.stat().st_size if item.path.exists() else 0} {item.key}"


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """A detached copy of a model's parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
