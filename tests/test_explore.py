"""Maps, apartness and colourways, on rows small enough to see through."""

from dataclasses import replace

import numpy as np
import pytest

from saree_vae import explore
from saree_vae.data import Item
from saree_vae.latents import unit


def at(*degrees):
    """Unit rows in the plane."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def side_by_side(motifs, colours):
    return np.concatenate([at(*motifs), at(*colours)], 1)


def test_the_map_keeps_the_two_widest_directions_apart_and_in_order(noise):
    wide, narrow = noise.normal(size=(200, 1)) * [[9.0]], noise.normal(size=(200, 1)) * [[3.0]]
    turned = np.concatenate([wide, narrow, noise.normal(size=(200, 3)) * 0.1], 1)
    turned = turned @ np.linalg.qr(noise.normal(size=(5, 5)))[0]
    places = explore.plane(turned.astype(np.float32))
    assert places.shape == (200, 2)
    for found, true in zip(places.T, (wide, narrow), strict=True):
        assert abs(np.corrcoef(found, true[:, 0])[0, 1]) > 0.99


def test_the_map_is_the_same_whichever_way_the_directions_were_found(noise):
    rows = noise.normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_array_equal(explore.plane(rows), explore.plane(rows))
    np.testing.assert_allclose(explore.plane(rows[::-1].copy())[::-1], explore.plane(rows), atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 11])
@pytest.mark.parametrize("way", ["pca", "umap"])
def test_few_pieces_have_places_too(noise, count, way):
    places = explore.plane(noise.normal(size=(count, 3)).astype(np.float32), way)
    assert places.shape == (count, 2) and np.isfinite(places).all()


def test_a_model_of_one_number_has_a_map_that_is_a_line():
    places = explore.plane(np.arange(5, dtype=np.float32)[:, None])
    assert places[:, 1].tolist() == [0] * 5
    assert np.diff(places[:, 0]) == pytest.approx([1] * 4)


def test_umap_begins_at_the_widest_directions_and_is_left_alone_by_other_calls(noise, monkeypatch):
    import sys
    from types import SimpleNamespace

    asked = []

    class Umap:
        def __init__(self, **settings):
            asked.append(settings)

        def fit_transform(self, rows):
            assert explore._alone.locked()
            return asked[-1]["init"]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    rows = noise.normal(size=(40, 5)).astype(np.float32)
    places, flat = explore.plane(rows, "umap"), explore.plane(rows)
    np.testing.assert_allclose(places / np.abs(places).max(), flat / np.abs(flat).max(), rtol=1e-5)
    assert asked[0]["random_state"] == 0
    assert not explore._alone.locked()


def test_the_piece_that_is_unlike_all_others_stands_most_apart(noise):
    crowd = unit(np.array([1.0, 0, 0, 0]) + 0.05 * noise.normal(size=(30, 4)))
    apart = explore.apartness(np.concatenate([crowd, [[0, 1, 0, 0]]]).astype(np.float32))
    assert apart.argmax() == 30
    assert apart[30] == pytest.approx(1, abs=0.1)
    assert apart[:30].max() < 0.1


def test_apartness_is_the_mean_of_one_less_cosine_to_the_nearest(monkeypatch):
    monkeypatch.setattr(explore, "NEIGHBOURS", 2)
    rows = at(0, 60, 90, 180)
    apart = explore.apartness(rows)
    assert apart[0] == pytest.approx(1 - (0.5 + 0) / 2, abs=1e-5)
    assert apart[3] == pytest.approx(1 - (0 - 0.5) / 2, abs=1e-5)


def test_blocks_change_nothing(noise, monkeypatch):
    rows = noise.normal(size=(50, 6)).astype(np.float32)
    rows = np.concatenate([unit(rows[:, :3]), unit(rows[:, 3:])], 1)
    whole = explore.apartness(rows), [group.tolist() for group in explore.in_many_colours(rows, 3)]
    monkeypatch.setattr(explore, "BLOCK", 7)
    np.testing.assert_allclose(explore.apartness(rows), whole[0], atol=1e-6)
    assert [group.tolist() for group in explore.in_many_colours(rows, 3)] == whole[1] != []


def test_one_piece_alone_stands_nowhere_apart_and_comes_in_one_colour():
    one = side_by_side([0], [0])
    assert explore.apartness(one).tolist() == [0]
    assert explore.in_many_colours(one, 2) == []


def test_a_design_in_three_colours_is_one_group_without_its_twin_or_another_design():
    #            design a, red, green, blue; a's twin in red; design b, red and green
    rows = side_by_side([0, 2, 4, 1, 90, 92], [0, 120, 240, 3, 0, 120])
    groups = explore.in_many_colours(rows, 2)
    assert [len(group) for group in groups] == [3, 2]
    assert len({0, 3} & set(groups[0].tolist())) == 1, "red comes once"
    assert {1, 2} <= set(groups[0].tolist())
    assert sorted(groups[1].tolist()) == [4, 5]


def test_designs_do_not_hang_together_by_a_chain_of_likenesses():
    rows = side_by_side([0, 30, 60, 90], [0, 90, 180, 270])  # each is like the next, the ends are not alike
    assert all(len(group) <= 3 for group in explore.in_many_colours(rows, 2))
    for group in explore.in_many_colours(rows, 2):
        motifs, colours = rows[group, :2], rows[group, 2:]
        assert (motifs @ motifs[0] >= explore.SAME_DESIGN - 1e-6).all()
        assert (colours @ colours.T - np.eye(len(group)) <= explore.OTHER_COLOURS).all()


def test_the_same_design_in_the_same_colours_is_no_group():
    assert explore.in_many_colours(side_by_side([0, 0, 1], [0, 0, 1]), 2) == []
    assert explore.in_many_colours(at(0, 0, 1), 2) == [], "without a colour half nobody can tell"


def test_a_sample_is_all_or_as_many_as_asked_rising_and_repeatable():
    assert explore.sample(5).tolist() == [0, 1, 2, 3, 4]
    rows = explore.sample(1000, 30)
    assert len(set(rows.tolist())) == 30 and (np.diff(rows) > 0).all()
    assert rows.tolist() == explore.sample(1000, 30).tolist()


def test_stored_pieces_as_data_keep_their_splits_and_leave_out_what_is_gone(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.png").touch()
    splits = ("train", "train", "train", "val", "test", "nonsense", "train")
    stored = {f"{n}.png": Item(f"{n}.png", tmp_path / f"{n}.png", "patola", split=s) for n, s in enumerate(splits)}
    dataset = explore.as_data(tmp_path, stored)
    assert [(item.key, item.split) for item in dataset.items] == [
        ("0.png", "train"), ("1.png", "train"), ("2.png", "train"), ("3.png", "val"), ("4.png", "test"),
        ("5.png", "train"),
    ]  # fmt: skip
    assert len(explore.as_data(tmp_path, stored, most=2).items) == 2
    tests_only = {key: replace(item, split="test") for key, item in stored.items()}
    assert {item.split for item in explore.as_data(tmp_path, tests_only).items} == {"train"}
