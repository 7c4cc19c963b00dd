"""The very same design is known in any light and colours, the very same colours in any design, and nothing else is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saree_vae import query, verification
from saree_vae.catalogue import WHOLE, Catalogue, Entry, _compared
from saree_vae.images import read_image, thumbnail
from saree_vae.verification import FIRST, HELD, SAME, SIDE, Same, contained, overlap, palette, sight, small, verified
from saree_vae.views import evaluation_view


def drawn(seed: int, side: int = 256) -> np.ndarray:
    """A picture of its own, full of shapes, (side, side, 3) uint8."""
    random = np.random.default_rng(seed)
    picture = np.full((side, side, 3), random.integers(60, 200, 3), np.uint8)
    for _ in range(90):
        colour = tuple(map(int, random.integers(0, 256, 3)))
        (x, y), size = map(int, random.integers(0, side, 2)), int(random.integers(4, side // 9))
        if random.random() < 0.5:
            cv2.circle(picture, (x, y), size, colour, -1)
        else:
            cv2.rectangle(picture, (x, y), (x + 2 * size, y + size), colour, -1)
    return picture


def phone_photo(picture: np.ndarray) -> np.ndarray:
    """The same from aslant, a part of it, in warm light from the left."""
    side = len(picture)
    corners = np.float32([[0.1, 0.05], [0.95, 0.12], [0.9, 0.96], [0.06, 0.9]]) * side
    lens = cv2.getPerspectiveTransform(corners, np.float32([[0, 0], [side, 0], [side, side], [0, side]]))
    photo = cv2.GaussianBlur(cv2.warpPerspective(picture, lens, (side, side)), (0, 0), 0.8)
    return (photo * np.linspace(1.0, 0.6, side)[:, None] * np.array([1.0, 0.9, 0.75])).astype(np.uint8)


ONE, OTHER = drawn(1), drawn(2)


def test_a_picture_lies_on_itself_and_on_no_other():
    assert overlap(sight(ONE), sight(ONE)).share == pytest.approx(1, abs=0.02)
    assert overlap(sight(ONE), sight(OTHER)) == Same()


def test_a_phone_photo_lies_on_its_own_picture_and_on_no_other():
    photo = sight(phone_photo(ONE))
    assert overlap(photo, sight(ONE)).share > 0.7
    assert overlap(photo, sight(OTHER)) == Same()


@pytest.mark.parametrize("size", [(1600, 1600), (90, 90), (400, 800)])
def test_of_whatever_size(size):
    assert overlap(sight(phone_photo(ONE)), sight(cv2.resize(ONE, size))).share > 0.6


def test_boxes_tell_which_parts_lie_on_each_other():
    lies, seen = overlap(sight(phone_photo(ONE)), sight(ONE)).boxes
    assert lies == pytest.approx((0.06, 0.05, 0.95, 0.96), abs=0.03) and seen == WHOLE
    wall = np.full((400, 400, 3), 200, np.uint8)
    wall[40:400, 20:380] = cv2.resize(ONE, (360, 360))
    lies, seen = overlap(sight(wall), sight(ONE)).boxes
    assert lies == WHOLE and seen == pytest.approx((0.05, 0.1, 0.95, 1), abs=0.02)
    assert overlap(sight(ONE), sight(OTHER)).boxes is contained(palette(ONE), palette(ONE)).boxes is None


def test_colours_do_not_matter_nor_whether_light_and_dark_are_exchanged():
    for other in (255 - ONE, ONE[..., ::-1], cv2.applyColorMap(ONE[..., 1], cv2.COLORMAP_OCEAN)):
        assert overlap(sight(other), sight(ONE)).share > 0.7
        assert overlap(sight(ONE), sight(np.ascontiguousarray(other))).share > 0.7


def test_a_close_up_lies_in_its_whole_and_the_whole_not_in_a_close_up():
    part = ONE[40:140, 60:160]
    assert overlap(sight(part), sight(ONE)).share > 0.7
    assert overlap(sight(ONE), sight(part)) == Same()  # of the whole a seventh is there


def test_edges_must_meet_edges_not_keypoints_alone(monkeypatch):
    """Keypoints of a few marks on two cloths may agree; what is between them decides."""
    marked = [drawn(seed) for seed in (3, 4)]
    for picture in marked:
        picture[96:160, 96:160] = cv2.resize(ONE[:128, :128], (64, 64))
    one, other = map(sight, marked)
    assert list(verification._placings(one, other))
    assert overlap(one, other) == Same()


def repeating(seed: int, across: int = 12, side: int = 256) -> np.ndarray:
    """Four petals again and again, printed by hand: no two are quite alike."""
    random, step = np.random.default_rng(seed), side / across
    cloth = np.full((side, side, 3), (60, 30, 20), np.uint8)
    for y, x in np.ndindex(across, across):
        for turn in (45, 135, 225, 315):
            way = np.array([np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))])
            middle = (np.array([x, y]) + 0.5 + 0.3 * way + random.uniform(-0.02, 0.02, 2)) * step
            at, size = (middle * 16).astype(int).tolist(), (int(step * 3.8), int(step * 1.9))
            cv2.ellipse(cloth, at, size, turn + random.uniform(-4, 4), 0, 360, (230, 220, 190), -1, cv2.LINE_AA, 4)
    return cloth


@pytest.mark.parametrize("number", range(5))
def test_where_a_design_repeats_the_place_that_was_photographed_is_found_all_the_same(number):
    """A petal is like every other; only where many agree do they tell the place."""
    cloth, other = repeating(number), repeating(50 + number)
    photo = sight(evaluation_view("phone_photo", cloth, 256, index=number))
    assert overlap(photo, sight(cloth)).share > 0.85
    assert overlap(photo, sight(other)).share < overlap(photo, sight(cloth)).share - 0.1


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (4000, 3), (8, 8), (300, 300)])
def test_where_there_is_nothing_to_see_nothing_is_the_same(shape):
    plain = sight(np.full((*shape, 3), 200, np.uint8))
    for other in (plain, sight(ONE)):
        assert overlap(plain, other) == overlap(other, plain) == Same()


def shuffled(picture: np.ndarray) -> np.ndarray:
    """Another picture of the same colours: its tiles in another order."""
    tiles = picture.reshape(8, 32, 8, 32, 3).swapaxes(1, 2).reshape(64, 32, 32, 3)
    return (
        tiles[np.random.default_rng(0).permutation(64)].reshape(8, 8, 32, 32, 3).swapaxes(1, 2).reshape(picture.shape)
    )


def test_a_picture_has_its_own_colours_wherever_they_lie_and_no_other_has():
    own, other = palette(ONE), palette(OTHER)
    assert contained(own, own).share == pytest.approx(1)
    assert contained(palette(shuffled(ONE)), own).share > 0.85
    assert contained(palette(shuffled(ONE)), other) == contained(own, other) == Same()
    assert contained(palette(np.ascontiguousarray(ONE.transpose(1, 0, 2))), own).share > 0.95


def test_colours_of_a_part_are_in_the_whole_and_the_wholes_not_in_a_part():
    one_side = ONE.copy()
    one_side[:, 128:] = OTHER[:, 128:]
    assert (
        contained(palette(ONE[:, :128]), palette(one_side)) == Same()
    )  # half of the picture is not the four fifths meant
    assert contained(palette(ONE[:, :220]), palette(ONE)).share > HELD
    assert contained(palette(one_side), palette(ONE)) == Same()


def test_a_flat_colour_is_the_same_after_it_was_saved_small():
    """Where shades end, one of 255 decides; no picture may be lost for that."""
    flat = [np.full((64, 64, 3), value, np.uint8) for value in range(100, 130)]
    same = [contained(palette(one), palette(other)).share for one, other in zip(flat[1:], flat[:-1], strict=True)]
    assert min(same) > HELD


def test_another_light_has_other_colours():
    assert contained(palette(phone_photo(ONE)), palette(ONE)) == Same()
    assert contained(palette((ONE * 0.9).astype(np.uint8)), palette(ONE)) == Same()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (4000, 3), (300, 300)])
def test_one_colour_is_a_palette_too(shape):
    plain, other = (palette(np.full((*shape, 3), value, np.uint8)) for value in (200, 90))
    assert contained(plain, plain).share == pytest.approx(1)
    assert contained(plain, other) == Same()


def test_what_is_small_already_stays_as_it_is():
    assert np.array_equal(small(ONE), ONE)
    assert small(cv2.resize(ONE, (1000, 400))).shape == (102, SIDE, 3)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(SAME, 1), st.floats(-1, 1), st.booleans())
def test_what_is_verified_comes_before_what_is_not(score, other, share, hues, coloured):
    assert verified(score, Same(share, hues), coloured) > verified(other, Same(), coloured) == other


def test_the_likelier_place_comes_first_and_where_colours_count_the_colourway_asked_for():
    assert verified(0.4, Same(0.9, 0.8), True) > verified(0.6, Same(0.7, 0.8), True)
    assert verified(0.4, Same(0.9, 0.8), True) > verified(0.6, Same(0.93, 0.2), True)
    assert verified(0.4, Same(0.9, 0.8), False) < verified(0.6, Same(0.93, 0.2), False)


def test_hues_tell_a_picture_from_its_design_in_other_colours():
    own = overlap(sight(phone_photo(ONE)), sight(ONE))
    recoloured = overlap(sight(cv2.applyColorMap(ONE[..., 1], cv2.COLORMAP_OCEAN)), sight(ONE))
    grey = overlap(sight(cv2.merge([cv2.cvtColor(ONE, cv2.COLOR_RGB2GRAY)] * 3)), sight(ONE))
    assert own.hues > 0.7 > 0.3 > recoloured.hues
    assert abs(grey.hues) < 0.1  # where there are none they say nothing
    assert min(one.share for one in (own, recoloured, grey)) > 0.6


# --- in a catalogue ---

MODEL = {"fingerprint": "3f9c0123456789", "motif_dim": 2, "colour_dim": 2}
PICTURES = 25


def jpeg(picture: np.ndarray) -> bytes:
    return thumbnail(picture)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Pieces that turn away from the query degree by degree, each with a picture of its own."""
    with Catalogue.create(tmp_path_factory.mktemp("verified") / "cat", **MODEL) as made:
        for n in range(PICTURES):
            angle = np.deg2rad(n)
            mu = np.float32([[np.cos(angle), np.sin(angle), 1, 0]])
            picture = b"no picture" if n == 2 else jpeg(drawn(100 + n))
            made.add([Entry(f"{n:02}", f"/{n}.jpg", f"{n:064}", None, None, {}, picture, mu, mu * 0 + 1)])
        yield made


QUERY = np.float32([[1, 0, 1, 0]])


def found(catalogue: Catalogue, number: int, **how) -> list[str]:
    return [hit.key for hit in catalogue.search_one(QUERY, k=5, pictures=[phone_photo(drawn(100 + number))], **how)]


def test_the_very_piece_comes_before_what_looks_more_alike(catalogue):
    assert [hit.key for hit in catalogue.search_one(QUERY, k=5)] == ["00", "01", "02", "03", "04"]
    assert found(catalogue, 9) == ["09", "00", "01", "02", "03"]
    assert found(catalogue, FIRST - 1)[0] == f"{FIRST - 1:02}"
    assert found(catalogue, FIRST)[0] == "00"  # not among those that are looked at
    first, second, *_ = catalogue.search_one(QUERY, k=5, pictures=[phone_photo(drawn(109))])
    assert first.same > SAME > second.same == 0
    assert first.score < second.score  # scores stay what they are
    assert first.box == pytest.approx((0.06, 0.05, 0.95, 0.96), abs=0.03)  # where the photo lies
    assert second.box == first.query_box == WHOLE  # all of it


def test_a_picture_that_cannot_be_read_any_more_is_found_no_less(catalogue):
    assert "02" in found(catalogue, 9)


def test_asked_by_colours_alone_the_very_same_colours_come_first(catalogue):
    asked = {"pictures": [shuffled(read_image(jpeg(drawn(109))))], "k": 5, "motif": 0}
    first, second, *_ = catalogue.search_one(QUERY, **asked)
    assert first.key == "09"
    assert first.same > HELD > second.same == 0
    assert first.box == WHOLE
    assert catalogue.search_one(QUERY, **asked | {"motif": 1})[0].key == "00"  # no design lies on another
    assert found(catalogue, 9, motif=0)[0] == "00"  # the light of a phone photo is not the picture's


def test_of_one_design_that_with_the_hues_comes_first_where_colours_count(tmp_path, monkeypatch):
    told = {"lies": Same(0.9, 0.2), "has the hues": Same(0.8, 0.5)}
    shades = {"lies": 0, "has the hues": 200}

    def compare(query, stored) -> Same:
        return next(same for name, same in told.items() if abs(float(stored.mean()) - shades[name]) < 9)

    monkeypatch.setattr("saree_vae.catalogue.ways", lambda motif: (lambda picture: picture, compare))
    with Catalogue.create(tmp_path / "cat", **MODEL) as made:
        for key, shade in shades.items():
            picture = jpeg(np.full((64, 64, 3), shade, np.uint8))
            made.add([Entry(key, key, f"{shade:064}", None, None, {}, picture, QUERY, QUERY)])
        for colour, first in ((0.3, "has the hues"), (0, "lies")):
            hit, _ = made.search_one(QUERY, k=2, pictures=[ONE], colour=colour)
            assert (hit.key, hit.same) == (first, told[first].share)


def test_kin_are_not_verified(catalogue):
    assert found(catalogue, 9, kin=True) == [hit.key for hit in catalogue.search_one(QUERY, k=5, kin=True)]
    assert found(catalogue, 9, colour=0)[0] == "09"


def test_of_several_pictures_of_a_piece_one_is_enough(catalogue):
    pictures = [read_image(jpeg(drawn(77))), phone_photo(drawn(105))]
    assert catalogue.search_one(QUERY, k=1, pictures=pictures)[0].key == "05"


def test_asked_by_a_stored_piece_its_twin_comes_first(tmp_path):
    pictures = {"asked": drawn(1), "looks more alike": drawn(2), "twin": phone_photo(drawn(1))}
    with Catalogue.create(tmp_path / "cat", **MODEL) as made:
        for n, (key, picture) in enumerate(pictures.items()):
            mu = np.float32([[1, n / 10, 1, 0]])
            made.add([Entry(key, key, f"{n:064}", None, None, {}, jpeg(picture), mu, mu * 0 + 1)])
        first, second = query.find(made, query.of_piece(made, "asked"), 9)
        assert (first.key, second.key) == ("twin", "looks more alike")
        assert first.same > SAME > second.same == 0


def test_what_was_compared_is_not_compared_again_when_the_weights_move(catalogue):
    picture = phone_photo(drawn(104))
    catalogue.search_one(QUERY, k=5, pictures=[picture])
    compared = _compared.cache_info().misses
    catalogue.search_one(QUERY, k=5, pictures=[picture], colour=0.7)
    assert _compared.cache_info().misses == compared
    catalogue.search_one(QUERY, k=5, pictures=[picture], motif=0)  # asked by colours, they are looked at
    assert _compared.cache_info().misses == compared + FIRST
