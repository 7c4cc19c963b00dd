"""Vectors of classes: rare shared evidence brings classes together, and nothing but the facts decides."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kg_schema import plant, rows_of, small, write

from kg import load_graph, schema
from kg.node_features import Features, node_features

MOTIFS = ["rare", "common", "one", "two", "three", "four", "five"]
TERMS = [("motif", motif, "") for motif in MOTIFS]


def cosine(features: Features, a: str, b: str) -> float:
    rows = dict(zip(features.ids, features.matrix, strict=True))
    return float(rows[a] @ rows[b])


def test_shape_type_length_and_columns():
    graph = load_graph()
    features = node_features(graph)
    assert features.matrix.shape == (99, len(features.columns)) == (len(features.ids), 411)
    assert features.matrix.dtype == np.float32
    assert np.isfinite(features.matrix).all()
    assert np.allclose(np.linalg.norm(features.matrix, axis=1), 1, atol=1e-6)
    assert list(features.ids) == sorted(features.ids)
    assert {graph.nodes[column]["kind"] for column in features.columns} == {*schema.TERM_KINDS, "attribute"}


def test_classes_are_taken_by_any_name_in_the_order_asked():
    graph = load_graph()
    some = node_features(graph, ["kanjivaram", "Gadwal", "patola"])
    every = node_features(graph)
    assert some.ids == ("kanchipuram", "gadwal", "patola_generic")
    for row, name in zip(some.matrix, some.ids, strict=True):
        assert np.array_equal(row, every.matrix[every.ids.index(name)])
    assert node_features(graph, []).matrix.shape == (0, 411)


@settings(max_examples=15)
@given(others=st.integers(1, 8), more=st.integers(0, 2))
def test_rare_shared_evidence_is_nearer_than_common(tmp_path_factory, others, more):
    # a and b share the rare motif, a and c the common one; b and c have equally many motifs of their own.
    own_b, own_c = MOTIFS[2 : 2 + more], MOTIFS[4 : 4 + more]
    rows = [
        {"id": "a", "motifs": "rare;common"},
        {"id": "b", "motifs": ";".join(["rare", *own_b])},
        {"id": "c", "motifs": ";".join(["common", *own_c])},
        *({"id": f"d{number}", "motifs": "common"} for number in range(others)),
    ]
    features = node_features(load_graph(small(tmp_path_factory.mktemp("kg") / "facts", rows, TERMS)))
    assert cosine(features, "a", "b") > cosine(features, "a", "c")


def test_pairs_that_share_rare_evidence_are_nearer_in_the_real_graph():
    features = node_features(load_graph())
    assert cosine(features, "tangaliya", "bandhani_kutch") < cosine(features, "madurai_sungudi", "bandhani_kutch")
    assert cosine(features, "batik_parang", "batik_udan_liris") > cosine(features, "batik_parang", "batik_truntum")
    assert cosine(features, "gadwal", "molakalmuru") > cosine(features, "gadwal", "mangalagiri")


def test_siblings_under_a_broader_term_are_nearer_than_strangers(tmp_path):
    terms = [("technique", "ikat", ""), ("technique", "warp ikat", "ikat"), ("technique", "weft ikat", "ikat")]
    rows = [{"id": "a", "techniques": "warp ikat"}, {"id": "b", "techniques": "weft ikat"}]
    rows.append({"id": "c", "techniques": "printing"})
    folder = small(tmp_path / "facts", rows, [*terms, ("technique", "printing", "")])
    features = node_features(load_graph(folder))
    assert cosine(features, "a", "b") > 0.1
    assert cosine(features, "a", "c") == 0


def test_the_same_facts_give_the_same_bytes_whatever_the_order_of_rows(tmp_path):
    facts = Path(shutil.copytree(schema.FACTS, tmp_path / "facts"))
    for path in facts.iterdir():
        header, *rows = rows_of(path)
        random.Random(1).shuffle(rows)
        write(path, [header, *rows])
    one, other = node_features(load_graph()), node_features(load_graph(facts))
    assert (one.ids, one.columns) == (other.ids, other.columns)
    assert one.matrix.tobytes() == other.matrix.tobytes()


def test_an_umbrella_is_the_mean_of_its_members_and_moves_nobody(tmp_path):
    rows = [{"id": "a", "motifs": "rare"}, {"id": "b", "motifs": "rare;common"}, {"id": "c", "motifs": "common;one"}]
    without = node_features(load_graph(small(tmp_path / "one", rows, TERMS)))
    rows.append({"id": "u", "kind": "umbrella", "members": "a;b"})
    attributes = [{"attribute": "dots", "definition": "dots"}]
    graded = [{"subject": "u", "attribute": "dots", "value": "yes", "basis": "seen"}]
    facts = small(tmp_path / "two", rows, TERMS, attributes=attributes, visual_attributes=graded)
    features = node_features(load_graph(facts))
    kept = [features.columns.index(column) for column in without.columns]
    assert np.array_equal(features.matrix[:3, kept], without.matrix)
    mean = features.matrix[0] + features.matrix[1]
    assert np.allclose(features.matrix[3], mean / np.linalg.norm(mean), atol=1e-6)
    assert not features.matrix[:, features.columns.index("attribute:dots")].any()


def test_unknown_is_nothing_and_no_is_the_opposite_of_yes(tmp_path):
    rows = [{"id": name, "motifs": "common"} for name in "abcd"]
    attributes = [{"attribute": "dots", "definition": "dots"}]
    answers = {"a": "yes", "b": "no", "c": "yes"}
    graded = [{"subject": s, "attribute": "dots", "value": v, "basis": "x"} for s, v in answers.items()]
    facts = small(tmp_path / "facts", rows, TERMS, attributes=attributes, visual_attributes=graded)
    features = node_features(load_graph(facts))
    yes, no, _, unknown = features.matrix[:, features.columns.index("attribute:dots")]
    assert yes > abs(unknown) and no < -abs(unknown)
    assert cosine(features, "a", "c") > cosine(features, "a", "d") > cosine(features, "a", "b")


def test_a_class_of_which_nothing_is_known_is_zero(tmp_path):
    folder = small(tmp_path / "facts", [{"id": "a", "motifs": "rare"}, {"id": "b"}], TERMS)
    features = node_features(load_graph(folder))
    assert not features.matrix[1].any()


def test_a_changed_fact_changes_the_vector(tmp_path):
    facts = Path(shutil.copytree(schema.FACTS, tmp_path / "facts"))
    plant(facts, "clusters.csv", "gadwal", "techniques", "ikat")
    before, after = node_features(load_graph()), node_features(load_graph(facts))
    moved = np.abs(before.matrix - after.matrix).max(axis=1)
    assert before.ids[int(moved.argmax())] == "gadwal"
    assert cosine(after, "gadwal", "pochampally_ikat") > cosine(before, "gadwal", "pochampally_ikat")


def test_a_long_list_of_one_kind_does_not_drown_another(tmp_path, monkeypatch):
    monkeypatch.setattr("kg.node_features.SHARED", 0.0)
    rows = [
        {"id": "a", "motifs": ";".join(MOTIFS), "techniques": "korvai"},
        {"id": "b", "motifs": "rare", "techniques": "korvai"},
        {"id": "c", "motifs": "rare"},
    ]
    features = node_features(load_graph(small(tmp_path / "facts", rows, [*TERMS, ("technique", "korvai", "")])))
    korvai, one = (features.matrix[0, features.columns.index(name)] for name in ("technique:korvai", "motif:one"))
    # Two of three have korvai and only one has this motif, one of seven: log(4/2) against log(4/1) / sqrt(7).
    assert korvai / one == pytest.approx(0.5 * 7**0.5, rel=1e-5)
