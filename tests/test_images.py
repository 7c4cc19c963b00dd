"""Whatever a museum's cameras, scanners and shop systems wrote is read as it looks, or named with its reason."""

from __future__ import annotations

import pickle
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from saree_vae.images import ImageError, read_image, read_square, square, thumbnail


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture without any symmetry, so that a turn or a wrong channel order shows."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    red, green, blue = 255 * x / width, 255 * y / height, 255 * (x / width) * (1 - y / height)
    return np.stack([red, green, blue], -1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **how) -> bytes:
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def close(a: np.ndarray, b: np.ndarray, within: float = 6.0) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) <= within


def reason(source) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(source)
    return caught.value.reason


# --- what is read ---


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_each_format_is_read_as_it_looks_from_a_path_and_from_bytes(tmp_path, kind):
    data = encoded(Image.fromarray(picture()), kind)
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(data)
    read = read_image(path)
    assert read.dtype == np.uint8 and close(read, picture(), within=12)
    assert np.array_equal(read, read_image(data)) and np.array_equal(read, read_image(str(path)))


def test_the_extension_does_not_matter(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    assert np.array_equal(read_image(path), picture())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_photograph_stands_upright(kind, orientation):
    upright = picture()
    # How the sensor saw it, for each value of the EXIF tag: the reverse of what a viewer must do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif.tobytes(), **how)
    assert close(read_image(data), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's remark
def test_broken_exif_does_not_make_a_bad_photograph():
    data = encoded(Image.fromarray(picture()), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff", quality=95)
    assert close(read_image(data), picture())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_grey_is_read_as_three_equal_channels(kind):
    grey = picture()[..., 0]
    read = read_image(encoded(Image.fromarray(grey), kind))
    assert close(read, np.stack([grey] * 3, -1), within=2) and (read[..., 0] == read[..., 2]).all()


def test_black_and_white_is_read():
    bits = picture()[..., 0] > 100
    read = read_image(encoded(Image.fromarray(bits), "TIFF"))
    assert np.array_equal(read[..., 1], np.where(bits, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind):
    deep = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    read = read_image(encoded(Image.fromarray(deep), kind))
    assert np.abs(read[..., 0].astype(int) - deep / 257).max() <= 0.51
    assert read.min() == 0 and read.max() == 255


def test_sixteen_bit_colour_is_scaled_and_not_clipped():
    deep = picture().astype(np.uint16) * 257
    assert np.array_equal(read_image(deep_png(deep)), picture())


@pytest.mark.parametrize(
    ("white", "mode"), [(1.0, "F"), (255.0, "F"), (65535.0, "F"), (65535, "I"), (2.0**31 - 1, "I")]
)
def test_float_and_integer_scans_use_their_whole_range(white, mode):
    ramp = np.linspace(0, 1, 64 * 48).reshape(48, 64) * white
    read = read_image(encoded(Image.fromarray(ramp.astype(np.float32 if mode == "F" else np.int32)), "TIFF"))
    assert np.abs(read[..., 0].astype(float) - ramp / white * 255).max() <= 1


def test_transparency_lies_on_white():
    solid = np.dstack([picture(), np.full((48, 64), 255, np.uint8)])
    solid[:, :32, 3] = 0
    on_white = picture()
    on_white[:, :32] = 255
    assert np.array_equal(read_image(encoded(Image.fromarray(solid), "PNG")), on_white)
    assert close(read_image(encoded(Image.fromarray(solid), "WEBP", lossless=True)), on_white, within=0)
    assert np.array_equal(read_image(encoded(Image.fromarray(solid), "TIFF")), on_white)
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert set(read_image(encoded(half, "PNG")).ravel()) == {127}


def test_grey_with_transparency_lies_on_white():
    grey = Image.new("LA", (4, 2), (40, 255))
    grey.putpixel((0, 0), (40, 0))
    read = read_image(encoded(grey, "PNG"))
    assert tuple(read[0, 0]) == (255, 255, 255) and tuple(read[1, 3]) == (40, 40, 40)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_with_and_without_transparency_are_read(kind):
    red_and_green = Image.new("P", (6, 4), 1)
    red_and_green.putpalette([0, 255, 0, 200, 10, 10])
    red_and_green.putpixel((0, 0), 0)
    plain = read_image(encoded(red_and_green, kind))
    assert tuple(plain[0, 0]) == (0, 255, 0) and tuple(plain[3, 5]) == (200, 10, 10)
    clear = read_image(encoded(red_and_green, kind, transparency=0))
    assert tuple(clear[0, 0]) == (255, 255, 255) and tuple(clear[3, 5]) == (200, 10, 10)


def test_a_palette_of_many_opacities_is_read():
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 0, 0, 0, 0, 0, 0])
    image.putdata([0, 1, 2])
    read = read_image(encoded(image, "PNG", transparency=bytes([0, 128, 255])))
    assert [int(value) for value in read[0, :, 0]] == [255, 127, 0]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_read_the_right_way_round(kind):
    """Pillow writes CMYK JPEGs inverted with an Adobe mark, as Photoshop does; a red must not come back cyan."""
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert close(read_image(encoded(red, kind)), np.full((16, 16, 3), (255, 0, 0), np.uint8), within=3)
    paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert read_image(encoded(paper, kind)).min() > 250


def test_lab_scans_are_read_in_colour():
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = to_lab.apply(Image.fromarray(picture()))
    assert close(read_image(encoded(lab, "TIFF")), picture())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_is_read(kind):
    first, second = Image.new("RGB", (20, 10), (200, 30, 30)), Image.new("RGB", (20, 10), (30, 30, 200))
    data = encoded(first, kind, save_all=True, append_images=[second])
    assert close(read_image(data), np.full((10, 20, 3), (200, 30, 30), np.uint8))


def test_another_colour_profile_is_converted_and_a_broken_one_ignored():
    plain = Image.fromarray(picture())
    swapped = swapped_profile()
    assert np.array_equal(read_image(encoded(plain, "PNG", icc_profile=b"not a profile")), picture())
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read_image(encoded(plain, "PNG", icc_profile=srgb)), picture())
    converted = read_image(encoded(plain, "PNG", icc_profile=swapped))
    assert close(converted, picture()[..., ::-1], within=3)
    # A colour profile in a grey picture does not fit it.
    grey = picture()[..., 0]
    assert np.array_equal(read_image(encoded(Image.fromarray(grey), "PNG", icc_profile=swapped))[..., 0], grey)


# --- scaling ---


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64), st.sampled_from(["JPEG", "PNG"]))
def test_reading_small_keeps_the_shorter_side_and_the_shape(height, width, min_side, kind):
    data = encoded(Image.fromarray(picture(height, width)), kind)
    read = read_image(data, min_side=min_side)
    assert min(read.shape[:2]) >= min(min_side, height, width)
    assert read.shape[0] <= height and read.shape[1] <= width
    assert abs(read.shape[1] / width - read.shape[0] / height) < 2 / min(read.shape[:2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_reading_small_looks_like_reading_large(kind):
    data = encoded(Image.fromarray(picture(960, 1280)), kind)
    small = read_image(data, min_side=100)
    assert small.shape[0] < 300
    assert close(square(small, 64), square(picture(960, 1280), 64), within=2)
    assert np.array_equal(read_square(data, 100), square(small, 100))


def test_the_square_is_the_middle_of_the_picture():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    tall = wide.transpose(1, 0, 2)
    assert (square(wide, 5) == 200).all() and (square(tall, 5) == 200).all()
    assert square(wide, 40).shape == (40, 40, 3)


def test_shrinking_averages():
    board = np.indices((64, 64)).sum(0) % 2 * 255
    read = square(np.stack([board] * 3, -1).astype(np.uint8), 16)
    assert (np.abs(read.astype(int) - 127.5) <= 1).all()


def test_a_thumbnail_is_the_whole_picture():
    small = read_image(thumbnail(picture(300, 600), side=100))
    assert small.shape == (50, 100, 3) and close(small, picture(50, 100))
    assert read_image(thumbnail(picture(3, 5))).shape == (3, 5, 3)
    assert read_image(thumbnail(picture(1, 900))).shape == (1, 256, 3)


def test_one_pixel_is_a_picture():
    data = encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")
    assert (read_square(data, 16) == (9, 8, 7)).all()


# --- what is not read ---


def test_what_is_no_image_is_told_in_plain_words(tmp_path):
    assert reason(b"") == "empty file"
    assert reason("இது ஒரு படம் அல்ல. ".encode() * 40) == "not an image (text)"
    assert reason(b"\0" * 100) == "not an image (nothing but zeros)"
    assert reason(b"%PDF-1.4 ...") == "not an image (a PDF document)"
    assert reason(b"<!doctype html><title>404</title>") == "not an image (a web page)"
    assert reason(b"RIFF\x10\0\0\0WAVEfmt ") == "not an image (an unknown kind of file)"
    assert reason(b"\0\0\0\x18ftypheic\0\0\0\0") == "not an image (HEIC or AVIF; save it as JPEG)"
    assert reason(tmp_path) == "a folder, not a file"
    assert reason(tmp_path / "gone.jpg") == "no such file"
    (tmp_path / "notes.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match=r"notes\.jpg: not an image \(text\)$"):
        read_image(tmp_path / "notes.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_half_a_file_is_not_half_loaded(kind, kept):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert reason(data[: int(len(data) * kept)]).startswith(("truncated", "damaged"))


def test_a_truncated_jpeg_is_called_truncated_at_any_scale():
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    for progressive in (False, True):
        data = encoded(Image.fromarray(noise), "JPEG", progressive=progressive)
        for min_side in (None, 50):
            with pytest.raises(ImageError, match="^image: truncated$"):
                read_image(data[: len(data) * 2 // 3], min_side=min_side)


def test_a_gigantic_image_is_refused_from_its_header(monkeypatch):
    bomb = png_header(20000, 20000)
    assert len(bomb) < 100
    assert reason(bomb) == "20000 x 20000 pixels; the limit is 200,000,000 in all"
    with pytest.raises(ImageError, match="64 x 48 pixels; the limit is 3,071 in all"):
        read_image(encoded(Image.fromarray(picture()), "JPEG"), max_pixels=64 * 48 - 1, min_side=8)
    assert read_image(encoded(Image.fromarray(picture()), "JPEG"), max_pixels=64 * 48).shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "BMP", "GIF"])
def test_our_limit_counts_and_not_pillows(monkeypatch, kind):
    """Pillow warns above its own limit and stops above twice that; warnings are errors in these tests."""
    data = encoded(Image.fromarray(picture()), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_image(data).shape == (48, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_permission_denied_is_told(monkeypatch, tmp_path):
    path = tmp_path / "locked.jpg"
    path.write_bytes(encoded(Image.fromarray(picture()), "JPEG"))

    def locked(*_args, **_how):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", locked)  # file modes do not stop root
    assert reason(path) == "permission denied"


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]), st.data())
def test_damage_anywhere_is_an_image_error_or_an_image(kind, data):
    whole = bytearray(encoded(Image.fromarray(picture()), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = read_image(bytes(whole), max_pixels=10**6)
    except ImageError as error:
        assert error.name == "image" and error.reason and "\n" not in str(error)
    else:
        assert read.dtype == np.uint8 and read.ndim == 3 and read.shape[2] == 3


def test_an_image_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "empty file")))
    assert (str(error), error.name, error.reason) == ("a.jpg: empty file", "a.jpg", "empty file")


# --- files that Pillow does not write ---


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels and holds none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def deep_png(image: np.ndarray) -> bytes:
    """An (H, W, 3) uint16 array as a 16-bit colour PNG."""
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def swapped_profile() -> bytes:
    """The sRGB profile with its red and blue primaries exchanged: a conversion nobody can overlook."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(132, 132 + 12 * struct.unpack(">I", profile[128:132])[0], 12):
        name = bytes(profile[at : at + 4])
        profile[at : at + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
