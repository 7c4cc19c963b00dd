"""Reading photographs, whatever camera, scanner or shop system wrote them, as sRGB arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from .errors import SareeError

MAX_PIXELS = 200_000_000  # larger than any camera or flatbed makes; 0.6 GB once decoded

Box = tuple[float, float, float, float]  # left, top, right, bottom of a part, in shares of a picture's sides
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class ImageError(SareeError):
    """One file that cannot be read as an image: `name` is the file, `reason` says why in plain words."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)  # both, so that it survives pickling on its way out of a worker
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def read_image(source: str | Path | bytes, *, min_side: int | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a JPEG, PNG, WebP, TIFF, BMP or GIF (its first frame) as it should look on a screen.

    EXIF orientation is applied, transparency lies on white, 16 bits are scaled to 8, and an embedded colour profile is
    converted to sRGB (a broken one is ignored).

    Args:
        source: a path, or the bytes of a file (which errors then call "image").
        min_side: if given, decoding may scale down while the shorter side stays at least this, in pixels.
        max_pixels: a larger image is refused from its header, before any memory is spent on it.

    Returns:
        (H, W, 3) uint8, sRGB.

    Raises:
        ImageError: there is no such file, or it is empty, truncated, too large or not an image.
    """
    name = "image" if isinstance(source, bytes) else str(source)
    with _plain_words(name), _opened(source) as file:
        image = _read_header(file, name)
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(name, f"{width} x {height} pixels; the limit is {max_pixels:,} in all")
        if min_side is not None:
            image.draft(None, (min_side, min_side))  # only JPEG can: it decodes 1/2, 1/4 or 1/8 of its size
        _decode(image)
        turn = _orientation(image)
        profile = image.info.get("icc_profile")
        picture = _shrunk(_eight_bit(image), min_side)
        picture = _to_srgb(_on_white(picture), profile)
        if turn is not None:
            picture = picture.transpose(turn)
        return np.array(picture)  # (H, W, 3), a copy that may be written to


def image_size(source: str | Path | bytes) -> tuple[int, int]:
    """(width, height) in pixels as stored, from the header alone. Raises ImageError as `read_image` does."""
    name = "image" if isinstance(source, bytes) else str(source)
    with _plain_words(name), _opened(source) as file:
        return _read_header(file, name).size


def kind(source: str | Path | bytes) -> str:
    """What a file is by its content, as "jpeg" or "png". Raises ImageError as `read_image` does."""
    name = "image" if isinstance(source, bytes) else str(source)
    with _plain_words(name), _opened(source) as file:
        return (_read_header(file, name).format or "").lower()


def square(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of an (H, W, 3) uint8 image as (size, size, 3) uint8, area-averaged when it shrinks."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return _resized(image, (size, size), (left, top, left + side, top + side))


def read_square(source: str | Path | bytes, size: int) -> np.ndarray:
    """The central square of an image file, (size, size, 3) uint8 sRGB. Raises ImageError as `read_image` does."""
    return square(read_image(source, min_side=size), size)


def margin_side(size: int) -> int:
    """The side at which pictures are read for a model of pictures of `size`: a quarter more.

    Training takes its crops from there, so that they have detail; whatever is encoded is shrunk from there too, to be
    what the model knows. (The difference is small: benchmarks/LOG.md.)
    """
    return round(size * 5 / 4)


def thumbnail(image: np.ndarray, side: int = 256) -> bytes:
    """The whole (H, W, 3) uint8 picture as a JPEG whose longest side is `side` pixels (or less: none is enlarged)."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    small = _resized(image, (max(1, round(width * scale)), max(1, round(height * scale))), (0, 0, width, height))
    written = BytesIO()
    Image.fromarray(small).save(written, "JPEG", quality=85)
    return written.getvalue()


def _resized(image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    shrinks = box[2] - box[0] >= size[0]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(image).resize(size, how, box))


# --- opening ---

_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"II+\0": TiffImagePlugin.TiffImageFile,  # BigTIFF
    b"MM\0+": TiffImagePlugin.TiffImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
}

_STRANGERS = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive or office document",
    b"8BPS": "a Photoshop document; export it as JPEG",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"<svg": "an SVG drawing",
    b"\xff\x0a": "JPEG XL; save it as JPEG",
    b"\0\0\0\x0cJXL ": "JPEG XL; save it as JPEG",
    b"\0\0\0\x0cjP  ": "JPEG 2000; save it as JPEG",
}


def _read_header(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """The image with its size known and nothing decoded.

    Pillow's readers are called directly: `Image.open` would weigh the size against a limit that is global to the
    process (a warning at 89 million pixels, an error at 179), and ours is an argument.
    """
    head = file.read(512)
    file.seek(0)
    if not head:
        raise ImageError(name, "empty file")
    reader = next((reader for magic, reader in _READERS.items() if head.startswith(magic)), None)
    if reader is None or (head.startswith(b"RIFF") and head[8:12] != b"WEBP"):
        raise ImageError(name, f"not an image ({_what_it_is(head)})")
    image = reader(file)
    if 0 in image.size:
        raise ImageError(name, "damaged (it says that it has no pixels)")
    return image


_PILLOWS_LIMIT = Lock()


def _decode(image: ImageFile.ImageFile) -> None:
    """Load the pixels. Our limit has let this image pass, so Pillow's own must not stop or warn of it.

    Some of Pillow's decoders (uncompressed TIFF) look at its global limit; it is put aside for just these few images,
    one at a time (which also spares memory), and put back.
    """
    if image.width * image.height <= (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        image.load()
        return
    with _PILLOWS_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image.load()
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _what_it_is(head: bytes) -> str:
    for magic, kind in _STRANGERS.items():
        if head.lower().startswith(magic.lower()):
            return kind
    if head[4:8] == b"ftyp":
        photograph = head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
        return "HEIC or AVIF; save it as JPEG" if photograph else "a film"
    if not any(head):
        return "nothing but zeros"
    text = head.decode("utf-8", errors="ignore")  # a letter may be cut at the end
    readable = sum(letter.isprintable() or letter in "\r\n\t\ufeff" for letter in text)
    return "text" if len(text.encode()) >= len(head) - 3 and readable == len(text) else "an unknown kind of file"


@contextmanager
def _opened(source: str | Path | bytes) -> Iterator[BinaryIO]:
    with BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        yield file


@contextmanager
def _plain_words(name: str) -> Iterator[None]:
    """Tell every failure as an ImageError. A damaged file makes Pillow raise nearly anything, hence the last clause."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(name, "no such file") from error
    except PermissionError as error:
        raise ImageError(name, "permission denied") from error
    except IsADirectoryError as error:
        raise ImageError(name, "a folder, not a file") from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, "too many pixels") from error
    except MemoryError as error:
        raise ImageError(name, "too large for this machine's memory") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageError(name, f"could not be read ({error.strerror or error})") from error
        raise ImageError(name, _damage(error)) from error


def _damage(error: Exception) -> str:
    told = " ".join(str(error).split()) or type(error).__name__
    cut = any(word in told.lower() for word in ("truncated", "not enough", "unexpected end"))
    return "truncated" if cut or isinstance(error, EOFError) else f"damaged ({told})"


# --- from what the file holds to 8-bit sRGB ---

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """How to turn a loaded image upright; Pillow has already turned a TIFF, and taken its tag away."""
    with suppress(Exception):  # broken EXIF is common and says nothing about the pixels
        return _TURNS.get(image.getexif().get(0x0112))
    return None


def _eight_bit(image: Image.Image) -> Image.Image:
    """The same picture in one of L, LA, RGB, RGBA, CMYK."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float32) / 257  # Pillow's own conversion would clip at 255
        return Image.fromarray((values + 0.5).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        # Such files do not say where white lies: take the smallest usual range that holds all the values.
        usual = (65535.0,) if image.mode == "I" else (1.0, 255.0, 65535.0)
        white = next((top for top in usual if values.max() <= top), values.max())
        return Image.fromarray((values.clip(0, white) * (255 / white) + 0.5).astype(np.uint8))
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, lab, _srgb(), outputMode="RGB")
    if image.mode not in ("LA", "RGBA") and image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") else image.convert("RGB")


def _shrunk(image: Image.Image, min_side: int | None) -> Image.Image:
    """Averaged down by a whole factor, so that what follows touches few pixels."""
    factor = 1 if min_side is None else min(image.size) // min_side
    return image.reduce(factor) if factor > 1 else image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("LA", "RGBA"):
        return image
    white = Image.new(image.mode[:-1], image.size, "white")
    white.paste(image.convert(image.mode[:-1]), mask=image.getchannel("A"))
    return white


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        # Past a broken profile: the picture without it is still the picture.
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            transform = _transform(profile, image.mode)
            if transform is not None:
                return transform.apply(image)
    return image.convert("RGB")


@lru_cache(maxsize=16)  # the photographs of one camera share a profile
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile's colours to sRGB; None where that changes nothing or the profile is of another mode."""
    opened = ImageCms.ImageCmsProfile(BytesIO(profile))
    space = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}.get(mode)
    description = opened.profile.profile_description or ""
    if opened.profile.xcolor_space != space or "srgb" in description.lower():
        return None
    return ImageCms.buildTransform(opened, _srgb(), mode, "RGB")


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.createProfile("sRGB")
