"""Retrieval figures on six points that fit on paper, and what must hold for any points."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saree_vae import metrics
from saree_vae.latents import unit

# Six points on a quarter circle, at these angles; nearer in angle is nearer in score. One query at 0 degrees.
#     label   a    b    a    b    b    a
ANGLES = (10, 20, 30, 40, 50, 60)
LABELS = ("a", "b", "a", "b", "b", "a")


def points(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_six_points_give_the_figures_worked_out_on_paper():
    found = metrics.retrieval(points(0, 0), ["a", "b"], points(*ANGLES), LABELS, ks=(1, 2, 5))
    # From 0 degrees the order is a b a b b a. For "a" (R = 3): right at 1 and 3 of the first three: (1/1 + 2/3) / 3.
    # For "b" (R = 3): right at 2 of the first three: (1/2) / 3.
    assert found.recall[1].tolist() == [1, 0]
    assert found.recall[2].tolist() == [1, 1]
    assert found.map_at_r == pytest.approx([5 / 9, 1 / 6])
    assert found.kept.all()
    assert found.left_out == 0


def test_a_query_whose_class_is_alone_or_unknown_is_left_out_and_counted():
    found = metrics.retrieval(points(0, 0, 0), ["lone", "a", None], points(10, 20), ["a", None])
    assert found.kept.tolist() == [False, True, False]
    assert found.left_out == 2
    assert found.map_at_r.tolist() == [1.0]


def test_unknown_gallery_labels_are_wrong_hits_not_missing_ones():
    found = metrics.retrieval(points(0), ["a"], points(10, 20), [None, "a"], ks=(1, 2))
    assert (found.recall[1][0], found.recall[2][0], found.map_at_r[0]) == (0, 1, 0)


def test_of_two_that_tie_the_wrong_one_stands_first():
    found = metrics.retrieval(points(0), ["a"], points(10, -10, 50), ["a", "b", "a"], ks=(1, 2))
    # Order: b (tied, wrong), a, a. R = 2: right at 2 of the first two: (1/2) / 2.
    assert (found.recall[1][0], found.recall[2][0]) == (0, 1)
    assert found.map_at_r[0] == pytest.approx(1 / 4)


def test_an_embedding_that_is_one_point_gets_the_worst_figures():
    one = np.tile(np.random.default_rng(0).normal(size=(1, 96)), (200, 1))
    one /= np.linalg.norm(one[0])
    labels = [row % 4 for row in range(200)]  # three wrong ones for each right one
    found = metrics.retrieval(one[:50], labels[:50], one, labels, ks=(1, 10, 150, 151))
    assert found.recall[150].max() == 0
    assert found.recall[151].min() == 1
    assert found.map_at_r.max() == 0
    assert metrics.find(one[:5], one, range(5), ks=(199,))[199].max() == 0
    assert metrics.find(one[:5], one, range(5), ks=(200,))[200].min() == 1
    assert metrics.same_item(one, labels, ks=(1, 150)).recall[150].max() == 0


def test_a_photograph_never_finds_itself_as_another_of_its_item():
    # At 0 and 3 degrees one saree, at 1 another whose second photograph is far away at 90; 45 is alone.
    found = metrics.same_item(points(0, 1, 3, 90, 45), ["s", "t", "s", "t", "u"], ks=(1, 2, 4))
    assert found.kept.tolist() == [True, True, True, True, False]
    assert found.recall[1].tolist() == [0, 0, 0, 0]  # 0 -> 1 degree, 1 -> 0, 3 -> 1, 90 -> 45
    assert found.recall[2].tolist() == [1, 0, 1, 0]
    assert found.recall[4].tolist() == [1, 1, 1, 1]


def test_same_item_asks_only_with_the_given_rows_but_searches_all():
    found = metrics.same_item(points(0, 40, 3), ["s", "t", "s"], queries=[2, 1], ks=(1,))
    assert found.kept.tolist() == [True, False]
    assert found.recall[1].tolist() == [1]


def test_find_needs_the_very_row_it_was_told():
    gallery = points(*ANGLES)
    recall = metrics.find(points(12, 12, 58), gallery, [0, 1, 4], ks=(1, 2, 3))
    assert [recall[k].tolist() for k in (1, 2, 3)] == [[1, 0, 0], [1, 1, 1], [1, 1, 1]]


def test_find_counts_a_copy_of_the_target_as_a_tie_against_us():
    recall = metrics.find(points(10), points(10, 10, 80), [0], ks=(1, 2))
    assert (recall[1][0], recall[2][0]) == (0, 1)


def test_chunks_do_not_change_the_figures(monkeypatch):
    random = np.random.default_rng(1)
    rows, labels = random.normal(size=(40, 5)), random.integers(0, 4, 40).tolist()
    at_once = metrics.retrieval(rows, labels, rows, labels), metrics.find(rows, rows[::-1], range(40))
    monkeypatch.setattr(metrics, "_CHUNK_SCORES", 120)  # three queries at a time
    in_chunks = metrics.retrieval(rows, labels, rows, labels), metrics.find(rows, rows[::-1], range(40))
    np.testing.assert_array_equal(at_once[0].map_at_r, in_chunks[0].map_at_r)
    np.testing.assert_array_equal(at_once[0].recall[1], in_chunks[0].recall[1])
    np.testing.assert_array_equal(at_once[1][5], in_chunks[1][5])


# Whole numbers: their scores are exact, so a tie is a tie in any order.
small = hnp.arrays(np.float32, st.tuples(st.integers(2, 12), st.just(3)), elements=st.integers(-3, 3).map(float))


@settings(max_examples=60, deadline=None)
@given(rows=small, data=st.data())
def test_shuffling_the_gallery_changes_nothing(rows, data):
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=len(rows), max_size=len(rows)))
    order = data.draw(st.permutations(range(len(rows))))
    plain = metrics.retrieval(rows, labels, rows, labels)
    shuffled = metrics.retrieval(rows, labels, rows[order], [labels[row] for row in order])
    np.testing.assert_array_equal(plain.map_at_r, shuffled.map_at_r)
    for k in plain.recall:
        np.testing.assert_array_equal(plain.recall[k], shuffled.recall[k])


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=30))
def test_a_perfect_embedding_gets_one_everywhere(labels):
    perfect = np.eye(5, dtype=np.float32)[labels]
    found = metrics.retrieval(perfect, labels, perfect, labels)
    assert found.map_at_r.min() == 1
    assert found.recall[1].min() == 1


@settings(max_examples=60, deadline=None)
@given(rows=small, data=st.data())
def test_the_figures_agree_with_sorting_the_whole_list(rows, data):
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=len(rows), max_size=len(rows)))
    found = metrics.retrieval(rows, labels, rows, labels, ks=(1, 3))
    for query, label in enumerate(labels):
        scored = sorted(zip(-(rows @ rows[query]), [other == label for other in labels], strict=True))
        right = [hit for _, hit in scored]  # False sorts before True: ties against us
        r = sum(right)
        expected = sum(sum(right[: i + 1]) / (i + 1) for i in range(r) if right[i]) / r
        assert found.map_at_r[query] == pytest.approx(expected)
        assert found.recall[3][query] == any(right[:3])


def test_wrong_shapes_and_broken_numbers_are_refused():
    with pytest.raises(ValueError, match="expected"):
        metrics.find(np.zeros((2, 3)), np.zeros((2, 4)), [0, 1])
    with pytest.raises(ValueError, match="labels"):
        metrics.retrieval(points(0), ["a", "b"], points(0), ["a"])
    with pytest.raises(ValueError, match="1 rows hold NaN"):
        metrics.retrieval(points(0), ["a"], np.array([[1.0, np.nan]]), ["a"])


def test_the_bootstrap_interval_is_that_of_the_normal_theory_on_many_values():
    values = np.random.default_rng(3).normal(5, 2, 4000)
    low, high = metrics.bootstrap_interval(values, draws=4000)
    half = 1.96 * 2 / math.sqrt(4000)
    assert low == pytest.approx(values.mean() - half, abs=0.015)
    assert high == pytest.approx(values.mean() + half, abs=0.015)
    assert metrics.bootstrap_interval(values, draws=4000) == (low, high)  # seeded


def test_the_bootstrap_interval_of_a_ratio_draws_both_together():
    over = np.random.default_rng(4).uniform(1, 9, 50)
    assert metrics.bootstrap_interval(0.4 * over, over=over) == pytest.approx((0.4, 0.4))


def test_the_bootstrap_of_nothing_or_of_infinity_is_not_a_number_and_of_equal_values_a_point():
    assert all(math.isnan(end) for end in metrics.bootstrap_interval(np.array([])))
    assert all(math.isnan(end) for end in metrics.bootstrap_interval(np.array([1.0, np.inf])))
    assert metrics.bootstrap_interval(np.ones(7)) == (1.0, 1.0)


def test_psnr_of_an_error_of_a_tenth_is_20_db_and_of_none_is_infinite():
    images = np.full((2, 4, 4, 3), 0.5)
    worse = images.copy()
    worse[0] += 0.1
    assert metrics.psnr(images, worse) == pytest.approx([20, np.inf])
    eight_bit = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    assert metrics.psnr(eight_bit, eight_bit + np.uint8(255)) == pytest.approx([0])


def test_mean_chroma_of_known_colours_is_what_the_cie_tables_say():
    # sRGB primaries in CIE Lab under D65 (Lindbloom): red a=80.1 b=67.2, blue a=79.2 b=-107.9; grey has none.
    colours = np.array([[255, 0, 0], [0, 0, 255], [119, 119, 119]], dtype=np.uint8)
    images = np.broadcast_to(colours[:, None, None], (3, 5, 4, 3))
    expected = np.array([[80.1, 67.2], [79.2, -107.9], [0, 0]])
    np.testing.assert_allclose(metrics.mean_chroma(images), expected, atol=0.2)
    np.testing.assert_allclose(metrics.mean_chroma(images / 255.0), expected, atol=0.2)


def test_scores_of_the_rows_themselves_give_the_figures_of_the_rows(noise):
    rows = unit(noise.normal(size=(30, 4)))
    items = [f"i{n % 9}" if n % 5 else None for n in range(30)]
    queries = np.arange(0, 30, 2)
    by_rows = metrics.same_item(rows, items, queries=queries)
    by_scores = metrics.same_item_by_scores(rows[queries] @ rows.T, items, queries)
    np.testing.assert_array_equal(by_rows.kept, by_scores.kept)
    np.testing.assert_array_equal(by_rows.recall[1], by_scores.recall[1])
    np.testing.assert_array_equal(by_rows.map_at_r, by_scores.map_at_r)
    with pytest.raises(ValueError, match="scores are"):
        metrics.same_item_by_scores(rows[queries] @ rows[:5].T, items, queries)


def test_what_an_embedding_holds_can_be_predicted_from_it_and_what_it_lacks_cannot(noise):
    known, other = noise.normal(size=(400, 3)), noise.normal(size=(400, 3))
    asking = np.arange(0, 400, 4)
    assert metrics.predicted(unit(known), unit(known), asking) > 0.8
    assert metrics.predicted(unit(known), other, asking) < 0.1


def test_detail_is_lost_by_a_blur_and_kept_by_a_copy(noise):
    import cv2

    images = noise.integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    blurred = np.stack([cv2.GaussianBlur(image, (5, 5), 2) for image in images])
    np.testing.assert_allclose(metrics.detail_kept(images, images), 1)
    assert (metrics.detail_kept(images, blurred) < 0.1).all()
    assert np.isnan(metrics.detail_kept(np.zeros((1, 8, 8, 3), np.uint8), images[:1, :8, :8])).all()
