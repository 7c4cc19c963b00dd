"""A run inside other libraries: the same vectors, told in their own ways."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import lancedb
import numpy as np
import pytest
from lancedb.pydantic import LanceModel, Vector
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from saree_vae import checkpoint, data
from saree_vae.encoding import encode_items, vectors
from saree_vae.errors import SareeError
from saree_vae.index import LatentIndex
from saree_vae.integrations.lance import SareeEmbedding
from saree_vae.integrations.scikit import SareeEncoder


@pytest.fixture(scope="module")
def items(cloth):
    return data.read_data(cloth).items


@pytest.fixture(scope="module")
def files(items):
    return [str(item.path) for item in items]


@pytest.mark.parametrize("weights", [{}, {"motif": 0, "colour": 1}, {"motif": 2, "colour": 1}])
def test_inner_products_are_the_scores_of_a_search(tiny_run, items, files, weights):
    run = checkpoint.load(tiny_run, "cpu")
    embedding = encode_items(run, items)[0].embedding()
    index = LatentIndex(run.config.model.motif_dim, run.config.model.colour_dim)
    index.add(embedding, np.arange(len(items)))
    scores, ids = index.search(embedding, len(items), **weights)
    rows = vectors(run, files, **weights)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.allclose(np.take_along_axis(rows @ rows.T, ids, 1), scores, atol=1e-5)


def test_files_bytes_and_arrays_give_the_same(tiny_run, files):
    run = checkpoint.load(tiny_run, "cpu")
    read = [np.asarray(Image.open(file).convert("RGB")) for file in files[:3]]
    stored = [Path(file).read_bytes() for file in files[:3]]
    for crops in (0, 2):
        rows = vectors(run, files[:3], crops=crops)
        assert np.allclose(vectors(run, stored, crops=crops), rows, atol=1e-5)
        assert np.allclose(vectors(run, read, crops=crops), rows, atol=1e-5)
    assert not np.allclose(vectors(run, files[:3]), rows, atol=1e-3)  # regions tell something else
    assert vectors(run, []).shape == (0, rows.shape[1])


def test_what_cannot_be_embedded_is_named(tiny_run, files):
    run = checkpoint.load(tiny_run, "cpu")
    with pytest.raises(SareeError, match=r"nowhere\.png: no such file"):
        vectors(run, [files[0], "nowhere.png"])
    with pytest.raises(SareeError, match=r"uint8, but \(8, 8, 3\) float32"):
        vectors(run, [np.zeros((8, 8, 3), np.float32)])
    with pytest.raises(SareeError, match="cannot be negative"):
        vectors(run, files[:1], motif=-1, colour=2)


def test_a_pipeline_learns_clusters_and_is_cloned_pickled_and_tuned(tiny_run, items, files):
    clusters = [item.cluster for item in items]
    pipeline = make_pipeline(SareeEncoder(tiny_run, colour=0.1), LogisticRegression(C=100)).fit(files, clusters)
    assert pipeline.score(files, clusters) > 0.9  # four painted designs
    assert (pickle.loads(pickle.dumps(pipeline)).predict(files) == pipeline.predict(files)).all()
    assert clone(pipeline[0]).get_params() == pipeline[0].get_params()
    found = GridSearchCV(pipeline, {"sareeencoder__crops": [0, 2]}, cv=2).fit(files, clusters)
    assert found.best_params_["sareeencoder__crops"] in (0, 2)
    run = checkpoint.load(tiny_run, "cpu")
    parts = SareeEncoder(tiny_run, motif=2, crops=2).transform(files[:3])
    assert np.allclose(parts, vectors(run, files[:3], motif=2, crops=2), atol=1e-6)
    names = pipeline[0].get_feature_names_out()
    assert len(names) == parts.shape[1]
    assert (names[0], names[run.config.model.motif_dim]) == ("motif0", "colour0")
    with pytest.raises(SareeError, match="nowhere"):
        SareeEncoder("nowhere").fit(files)


def test_a_run_that_was_trained_anew_is_read_again(tiny_run, files, tmp_path):
    copy = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    encoder = SareeEncoder(copy)
    before = encoder.transform(files[:2])
    tensors = load_file(copy / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, copy / "model.safetensors")
    assert not np.allclose(encoder.transform(files[:2]), before, atol=1e-3)


def test_a_lance_table_embeds_what_is_added_and_is_searched_by_a_picture(tiny_run, files, tmp_path):
    embed = SareeEmbedding.create(run=str(tiny_run), colour=0.5)

    class Piece(LanceModel):
        photo: str = embed.SourceField()
        vector: Vector(embed.ndims()) = embed.VectorField()

    lancedb.connect(tmp_path).create_table("pieces", schema=Piece).add([{"photo": file} for file in files])
    pieces = lancedb.connect(tmp_path).open_table("pieces")  # remembers by which run and weights it embeds
    rows = vectors(checkpoint.load(tiny_run, "cpu"), files, colour=0.5)
    for asked in (files[5], Path(files[5]).read_bytes()):
        hits = pieces.search(asked).distance_type("dot").limit(len(files)).to_list()
        assert np.allclose([1 - hit["_distance"] for hit in hits], np.sort(rows @ rows[5])[::-1], atol=1e-5)
    # LanceDB would try for ten minutes.
    with pytest.raises(Exception, match=r"\(0\) exceeded.*nowhere\.png', 'no such"):
        pieces.search("nowhere.png").to_list()
