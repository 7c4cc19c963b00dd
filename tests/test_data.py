"""A folder of photographs becomes a data set: nothing is lost silently, and what belongs together is never parted."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saree_vae import data
from saree_vae.data import Bad, Item, batches, check, load, read_data
from saree_vae.errors import SareeError
from saree_vae.images import ImageError, read_square

TEXTILES = Path(__file__).parent.parent.parent / "shared" / "data" / "textiles"


def cloth(number: int, height: int = 120, width: int = 160) -> Image.Image:
    """A picture of its own for every number: soft patches of colour, as no other number has them."""
    patches = np.random.default_rng(number).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def save(path: Path, number: int, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cloth(number).save(path, **how)
    return path


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    return folder / "manifest.csv"


def splits(dataset: data.DataSet) -> dict[str, str]:
    return {item.key: item.split for item in dataset.items}


@pytest.fixture
def three(tmp_path) -> Path:
    """A folder with a.jpg, b.jpg and c.jpg."""
    for number, name in enumerate("abc"):
        save(tmp_path / f"{name}.jpg", number)
    return tmp_path


# --- folders ---


def test_a_flat_folder_has_no_classes(three):
    dataset = read_data(three)
    assert [item.key for item in dataset.items] == ["a.jpg", "b.jpg", "c.jpg"]
    assert {item.cluster for item in dataset.items} == {None}
    assert all(item.path == three / item.key for item in dataset.items)


def test_class_folders_name_the_cluster(tmp_path):
    save(tmp_path / "ikat" / "a.jpg", 0)
    save(tmp_path / "batik" / "old" / "b.PNG", 1)
    assert {item.key: item.cluster for item in read_data(tmp_path).items} == {
        "ikat/a.jpg": "ikat",
        "batik/old/b.PNG": "batik",
    }
    save(tmp_path / "stray.tiff", 2)
    assert {item.cluster for item in read_data(tmp_path).items} == {None}


def test_every_image_extension_in_any_case_is_listed_and_nothing_hidden(tmp_path):
    names = ["a.jpg", "b.JPEG", "c.Png", "d.webp", "e.tif", "f.TIFF", "g.bmp", "h.gif"]
    for number, name in enumerate(names):
        save(tmp_path / name, number)
    save(tmp_path / "x.jpg", 9).rename(tmp_path / ".hidden.jpg")
    save(tmp_path / ".thumbs" / "y.jpg", 9)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [item.key for item in read_data(tmp_path).items] == sorted(names)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "Validation", "TEST"), ("train", "test")])
def test_folders_train_val_and_test_are_splits_and_no_classes(tmp_path, names):
    for part in names:
        for craft in ("patola", "ikat"):
            save(tmp_path / part / craft / "a.png", 0)
    found = read_data(tmp_path)
    assert {item.cluster for item in found.items} == {"patola", "ikat"}
    told = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test"}
    assert all(item.split == told[item.key.split("/")[0].lower()] for item in found.items)


@pytest.mark.parametrize("names", [("train",), ("train", "Training")])
def test_folders_of_one_split_are_parted_like_any_other(tmp_path, names):
    for n, craft in enumerate(["patola", "ikat"] * 10):
        save(tmp_path / names[n % len(names)] / craft / f"{n}.png", n)
    found = read_data(tmp_path)
    assert {item.cluster for item in found.items} == {"patola", "ikat"}
    assert {item.split for item in found.items} == {"train", "val", "test"}


def test_a_class_may_be_called_test_where_others_are_not(tmp_path):
    for craft in ("test", "ikat"):
        save(tmp_path / craft / "a.png", 0)
    assert {item.cluster for item in read_data(tmp_path).items} == {"test", "ikat"}


def test_an_empty_folder_or_none_at_all_is_one_sentence(tmp_path):
    with pytest.raises(SareeError, match="no images in this folder; looked for jpg, jpeg, png"):
        read_data(tmp_path)
    with pytest.raises(SareeError, match="gone: no such file or folder"):
        read_data(tmp_path / "gone")
    (tmp_path / "a.txt").write_text("path")
    with pytest.raises(SareeError, match=r"a\.txt: expected a folder of images or a manifest\.csv"):
        read_data(tmp_path / "a.txt")


def test_bad_files_are_named_with_their_reason_and_the_rest_goes_on(three):
    whole = (three / "b.jpg").read_bytes()
    (three / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (three / "zero.jpg").touch()
    (three / "notes.jpg").write_text("not a picture")
    dataset = read_data(three)
    assert [item.key for item in dataset.items] == ["a.jpg", "c.jpg"]
    assert set(dataset.bad) == {
        Bad("b.jpg", "truncated"),
        Bad("zero.jpg", "empty file"),
        Bad("notes.jpg", "not an image (text)"),
    }
    with pytest.raises(ImageError, match=r"b\.jpg: truncated"):
        read_data(three, strict=True)


def test_a_set_without_a_single_good_picture_is_one_sentence(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(SareeError, match=r"none of its 1 pictures can be used \(a\.jpg: empty file\)"):
        read_data(tmp_path)


def test_a_folder_that_may_not_be_entered_is_named(three, monkeypatch):
    walk = os.walk

    def locked(top, onerror):
        onerror(PermissionError(13, "Permission denied", str(three / "locked")))
        return walk(top)

    monkeypatch.setattr(data.os, "walk", locked)  # file modes do not stop root
    assert read_data(three).bad == (Bad("locked", "permission denied"),)


# --- manifests ---


def test_a_manifest_gives_every_column_its_place(three):
    path = manifest(
        three,
        "path,cluster,split,item_id,source,view,zari,price\n"
        "a.jpg,ikat,train,p1,shop,front,silver,1200\n"
        "./b.jpg,,TEST,,,,,\n"
        "\n"
        'c.jpg, ikat ,val,p2,"a, b",,,\n',
    )
    for where in (path, three, str(three)):
        a, b, c = read_data(where).items
        assert a == Item(
            "a.jpg", three / "a.jpg", "ikat", "p1", "train", "shop", "front", {"zari": "silver", "price": "1200"}
        )
        assert b == Item("b.jpg", three / "b.jpg", split="test", metadata={"zari": "", "price": ""})
        assert (c.cluster, c.split, c.source) == ("ikat", "val", "a, b")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_manifests_of_any_spreadsheet_are_read(three, delimiter, encoding, newline):
    rows = ["path,cluster,split", "a.jpg,சேலை,train", "b.jpg,சேலை,test", ",,"]
    manifest(three, newline.join(rows).replace(",", delimiter), encoding)
    assert [(i.key, i.cluster, i.split) for i in read_data(three).items] == [
        ("a.jpg", "சேலை", "train"),
        ("b.jpg", "சேலை", "test"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,cluster\na.jpg,x\n", "no column 'path' in its first row; found file, cluster"),
        ("", "no column 'path' in its first row; found nothing"),
        ("path\n", "no rows below the header"),
        (
            "path,split\na.jpg,train\nb.jpg,training\n",
            "row 3, column 'split': 'training' is not one of train, val, test",
        ),
        ("path\n../a.jpg\n", "row 2, column 'path': '../a.jpg' lies outside"),
        ("path\nx/../../a.jpg\n", "row 2, column 'path': 'x/../../a.jpg' lies outside"),
        ("path\n/etc/passwd\n", "row 2, column 'path': '/etc/passwd' lies outside"),
        ("path\nC:\\photos\\a.jpg\n", "row 2, column 'path': .* lies outside"),
        ("path,path\na.jpg,b.jpg\n", "column 'path' stands there twice"),
        ("path,cluster\n\na.jpg,red, green\n", "row 3: 3 cells for 2 columns"),
    ],
)
def test_a_malformed_manifest_is_told_with_row_and_column(three, text, told):
    manifest(three, text)
    with pytest.raises(SareeError, match=told) as caught:
        read_data(three)
    assert str(caught.value).startswith(str(three / "manifest.csv"))
    assert "\n" not in str(caught.value)


def test_a_manifest_in_another_encoding_is_one_sentence(three):
    manifest(three, "path,cluster\na.jpg,x\nb.jpg,Façonné\n", "latin-1")
    with pytest.raises(SareeError, match="line 3: not UTF-8; save it as 'CSV UTF-8'"):
        read_data(three)


def test_missing_and_repeated_paths_are_bad_and_the_rest_goes_on(three):
    (three / "sub").mkdir()
    manifest(
        three, "path,cluster,split\na.jpg,x,train\ngone.jpg,x,train\n./a.jpg,y,test\nsub,x,val\n,x,val\nb.jpg,x,test\n"
    )
    dataset = read_data(three)
    assert [(item.key, item.cluster) for item in dataset.items] == [("a.jpg", "x"), ("b.jpg", "x")]
    assert dataset.bad == (
        Bad("gone.jpg", "no such file (row 3)"),
        Bad("a.jpg", "row 4 names it again, after row 2"),
        Bad("sub", "a folder, not a file (row 5)"),
        Bad("row 6", "its column 'path' is empty"),
    )
    with pytest.raises(ImageError, match=r"gone\.jpg: no such file"):
        read_data(three, strict=True)


def test_paths_from_windows_are_understood(tmp_path):
    save(tmp_path / "ikat" / "a.jpg", 0)
    manifest(tmp_path, "path,split\nikat\\a.jpg,train\n")
    assert read_data(tmp_path).items[0].key == "ikat/a.jpg"


def test_with_all_splits_given_no_picture_is_opened(three, monkeypatch):
    manifest(three, "path,split\na.jpg,train\nb.jpg,val\nc.jpg,test\n")
    monkeypatch.setattr(data, "read_image", None)
    assert splits(read_data(three)) == {"a.jpg": "train", "b.jpg": "val", "c.jpg": "test"}


def test_the_digest_follows_keys_splits_clusters_and_sizes(three):
    def digest(text: str) -> str:
        manifest(three, text)
        return read_data(three).digest()

    plain = digest("path,cluster,split\na.jpg,x,train\nb.jpg,x,test\n")
    assert plain == digest("path,split,cluster,other\nb.jpg,test,x,1\na.jpg,train,x,2\n")
    assert len(plain) == 64
    others = {
        digest("path,cluster,split\na.jpg,x,train\n"),
        digest("path,cluster,split\na.jpg,y,train\nb.jpg,x,test\n"),
        digest("path,cluster,split\na.jpg,x,val\nb.jpg,x,test\n"),
    }
    save(three / "a.jpg", 7)
    others.add(digest("path,cluster,split\na.jpg,x,train\nb.jpg,x,test\n"))
    assert len(others | {plain}) == 5


# --- splits ---


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), min_size=1, max_size=120),
    st.integers(0, 3),
)
@settings(max_examples=200)
def test_the_seeded_split_parts_no_group_and_leaves_every_class_something_to_learn_from(rows, seed):
    """Rows are (cluster, group); clusters and groups cross at will."""
    items = [Item(f"{i}.jpg", Path(f"{i}.jpg"), cluster=f"c{cluster}") for i, (cluster, _) in enumerate(rows)]
    groups = [group for _, group in rows]
    done = data._split(items, groups, seed)
    assert [item.key for item in done] == [item.key for item in items]
    sides = defaultdict(set)
    homes = defaultdict(list)
    for item, group in zip(done, groups, strict=True):
        sides[group].add(item.split)
        homes[group].append(item.cluster)
    assert all(len(found) == 1 and found <= set(data.SPLITS) for found in sides.values())
    of_cluster = defaultdict(list)
    for group, clusters in homes.items():
        of_cluster[Counter(clusters).most_common(1)[0][0]].append(*sides[group])
    assert all("train" in found for found in of_cluster.values() if len(found) > 1)
    assert any(item.split == "train" for item in done)
    # Independent of the order in which a folder is listed:
    back = data._split(items[::-1], groups[::-1], seed)
    if all(len(set(clusters)) == 1 for clusters in homes.values()):
        assert {item.key: item.split for item in back} == {item.key: item.split for item in done}


def test_the_seeded_split_has_its_shares_overall_and_in_every_large_class():
    sizes = {"large": 400, "middle": 50, **{f"small{i}": 3 for i in range(40)}, **{f"lone{i}": 1 for i in range(60)}}
    items = [Item(f"{c}/{i}", Path(), cluster=c) for c, size in sizes.items() for i in range(size)]
    done = data._split(items, range(len(items)), 0)
    counts = Counter(item.split for item in done)
    assert abs(counts["test"] / len(done) - 0.2) < 0.01
    assert abs(counts["val"] / len(done) - 0.1) < 0.01
    large = Counter(item.split for item in done if item.cluster == "large")
    assert abs(large["test"] - 80) <= 1
    assert abs(large["val"] - 40) <= 1
    assert 8 <= sum(item.split == "test" for item in done if item.cluster.startswith("lone")) <= 16


def test_the_split_follows_the_seed_and_nothing_else(tmp_path):
    for number in range(40):
        save(tmp_path / f"{number}.png", number)
    first = splits(read_data(tmp_path))
    assert first == splits(read_data(tmp_path)) == splits(read_data(tmp_path, seed=0))
    assert first != splits(read_data(tmp_path, seed=1))
    assert Counter(first.values()) == {"train": 28, "test": 8, "val": 4}


def test_three_pictures_have_one_to_learn_from_and_so_has_one(three):
    assert "train" in splits(read_data(three)).values()
    (three / "b.jpg").unlink()
    (three / "c.jpg").unlink()
    assert splits(read_data(three)) == {"a.jpg": "train"}


def test_pictures_of_one_item_and_near_duplicates_stay_together(tmp_path):
    rows = ["path,item_id"]
    for number in range(24):
        save(tmp_path / f"{number}.png", number)
        cloth(number).resize((120, 90), Image.Resampling.BILINEAR).save(tmp_path / f"{number}_copy.jpg", quality=60)
        rows += [f"{number}.png,item{number // 3}", f"{number}_copy.jpg,"]
    manifest(tmp_path, "\n".join(rows))
    for seed in range(3):
        of_item = defaultdict(set)
        for key, split in splits(read_data(tmp_path, seed=seed)).items():
            of_item[int(key.split(".")[0].split("_")[0]) // 3].add(split)
        assert all(len(found) == 1 for found in of_item.values())
        assert {"train", "test"} <= set.union(*of_item.values())


def test_rows_without_a_split_follow_their_group(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.png", number)
    cloth(0).save(tmp_path / "copy.jpg", quality=70)
    manifest(tmp_path, "path,split,item_id\n0.png,test,\n1.png,val,p\n2.png,,p\n3.png,train,\ncopy.jpg,,\n")
    assert splits(read_data(tmp_path)) == {
        "0.png": "test",
        "copy.jpg": "test",
        "1.png": "val",
        "2.png": "val",
        "3.png": "train",
    }


# --- near-duplicates ---


@pytest.mark.parametrize("scale", [0.25, 0.7, 0.97, 1.4])
@pytest.mark.parametrize("quality", [40, 90])
def test_a_re_encoded_resized_copy_is_a_near_duplicate_and_a_different_picture_is_not(tmp_path, scale, quality):
    original = cloth(0, 600, 800)
    original.save(tmp_path / "a.png")
    original.resize((round(800 * scale), round(600 * scale)), Image.Resampling.LANCZOS).save(
        tmp_path / "b.jpg", quality=quality
    )
    cloth(1, 600, 800).save(tmp_path / "c.png")
    recoloured = Image.fromarray(np.asarray(original)[..., ::-1])
    recoloured.save(tmp_path / "d.png")  # the same design in other colours is another piece
    assert check(tmp_path).near_duplicates == (("a.png", "b.jpg"),)


def test_plain_cloth_of_one_shade_is_alike_and_of_two_is_not(tmp_path):
    for number in range(12):
        for name, lighter in (("a", 0), ("b", 1)):
            Image.new("RGB", (90, 90), (20 * number + lighter, 30, 40)).save(tmp_path / f"{number:02}{name}.png")
    assert check(tmp_path).near_duplicates == tuple((f"{number:02}a.png", f"{number:02}b.png") for number in range(12))


def test_the_shape_of_plain_cloth_is_not_decided_by_the_noise_of_arithmetic(tmp_path):
    for grey in range(0, 256, 15):
        path = tmp_path / f"{grey}.png"
        Image.new("L", (90, 70), grey).save(path)
        assert set(data._look(path).shape) == {-1}


@given(st.integers(0, 2**32 - 1), st.integers(0, 100), st.sampled_from([7, 512]))
@settings(max_examples=40)
def test_no_near_pair_is_missed_by_comparing_neighbours_in_brightness_only(seed, count, block):
    rng = np.random.default_rng(seed)
    shapes = rng.choice(np.array([-1, 1], np.int8), (4, 255))
    looks = []
    for _ in range(count):
        shape = shapes[rng.integers(4)] * np.where(rng.random(255) < rng.choice([0, 0.1, 0.25]), -1, 1).astype(np.int8)
        colour = (rng.choice([40, 43, 44, 47, 90]) + rng.normal(0, 1, 192)).clip(0, 255).astype(np.uint8)
        looks.append(data._Look("", (1, 1), shape, colour))
    expected = set()
    for i in range(count):
        for j in range(i):
            apart = looks[i].colour.astype(float) - looks[j].colour
            differ = (looks[i].shape != looks[j].shape).sum()
            if differ <= data.SHAPE and np.sqrt((apart**2).mean()) <= data.COLOUR:
                expected.add((j, i))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "BLOCK", block)
        assert {tuple(sorted(pair)) for pair in data._near_pairs(looks)} == expected


# --- loading ---


def test_pictures_are_loaded_in_order_as_squares(three):
    items = read_data(three).items
    done = []
    loaded = load(items, 32, progress=lambda *step: done.append(step))
    assert loaded.images.shape == (3, 32, 32, 3)
    assert loaded.images.dtype == np.uint8
    assert loaded.items == items
    assert done == [(1, 3), (2, 3), (3, 3)]
    for item, image in zip(items, loaded.images, strict=True):
        assert np.array_equal(image, read_square(item.path, 32))


def test_loading_nothing_is_no_error():
    assert load((), 32).images.shape == (0, 32, 32, 3)
    assert list(batches((), 32, 4, bad=[])) == []


def test_pictures_that_went_bad_are_skipped_and_named(tmp_path):
    for number in range(7):
        save(tmp_path / f"{number}.jpg", number)
    items = read_data(tmp_path).items
    (tmp_path / "2.jpg").unlink()
    (tmp_path / "5.jpg").write_bytes(b"")
    good = [item for item in items if item.key not in ("2.jpg", "5.jpg")]
    expected = [Bad("2.jpg", "no such file"), Bad("5.jpg", "empty file")]
    loaded = load(items, 16)
    assert list(loaded.items) == good
    assert list(loaded.bad) == expected
    assert np.array_equal(loaded.images[-1], read_square(tmp_path / "6.jpg", 16))

    bad: list[Bad] = []
    streamed = list(batches(items, 16, 2, bad=bad))
    assert [[item.key for item in some] for some, _ in streamed] == [["0.jpg", "1.jpg"], ["3.jpg", "4.jpg"], ["6.jpg"]]
    assert np.array_equal(np.concatenate([images for _, images in streamed]), loaded.images)
    assert bad == expected
    for strictly in (lambda: load(items, 16, strict=True), lambda: list(batches(items, 16, 2, bad=[], strict=True))):
        with pytest.raises(ImageError, match=r"2\.jpg: no such file"):
            strictly()


def test_more_pictures_than_memory_go_to_a_file_without_a_name(three, monkeypatch, tmp_path_factory):
    items = read_data(three).items
    plain = load(items, 16).images
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(data, "RAM", 1000)
    monkeypatch.setattr(data.tempfile, "tempdir", str(folder))
    mapped = load(items, 16).images
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, plain)
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(data.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(SareeError, match="set TMPDIR to a larger disk"):
        load(items, 16)


def test_streaming_reads_only_a_little_ahead(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", 0)
    read = []
    monkeypatch.setattr(
        data, "read_square", lambda path, size: read.append(path) or np.zeros((size, size, 3), np.uint8)
    )
    stream = batches([Item(str(i), path) for i in range(5000)], 8, 4, bad=[])
    next(stream)
    stream.close()
    assert len(read) < 200


# --- check ---


@pytest.fixture
def untidy(tmp_path) -> Path:
    """One of everything that can be wrong with a data set."""
    for number in range(6):
        save(tmp_path / f"{number}.png", number)
    (tmp_path / "same.png").write_bytes((tmp_path / "0.png").read_bytes())
    cloth(1).save(tmp_path / "near.jpg", quality=60)
    cloth(9).resize((63, 80)).save(tmp_path / "tiny.png")
    (tmp_path / "zero.jpg").touch()
    manifest(
        tmp_path,
        "path,cluster,item_id,split\n"
        "0.png,ikat,,train\n"
        "same.png,batik,,train\n"
        "1.png,ikat,,train\n"
        "near.jpg,ikat,,test\n"
        "2.png,batik,p,val\n"
        "3.png,batik,p,test\n"
        "4.png,kota,,train\n"
        "5.png,,,train\n"
        "tiny.png,batik,,test\n"
        "zero.jpg,batik,,train\n"
        "gone.jpg,batik,,train\n",
    )
    return tmp_path


def test_check_finds_each_kind_of_fault(untidy):
    steps = []
    found = check(untidy, progress=lambda *step: steps.append(step))
    assert steps[-1] == (10, 10)
    assert found.pictures == 9
    assert found.splits == {"train": 5, "val": 1, "test": 3}
    assert found.clusters == {"batik": 4, "ikat": 3, "": 1, "kota": 1}
    assert set(found.unreadable) == {Bad("zero.jpg", "empty file"), Bad("gone.jpg", "no such file (row 12)")}
    assert found.duplicates == (("0.png", "same.png"),)
    assert found.near_duplicates == (("1.png", "near.jpg"),)
    assert found.leaks == (
        data.Leak("near-duplicates", {"train": ("1.png",), "test": ("near.jpg",)}),
        data.Leak("one item_id", {"val": ("2.png",), "test": ("3.png",)}),
    )
    assert found.disagreements == ({"0.png": "ikat", "same.png": "batik"},)
    assert found.tiny == {"tiny.png": [63, 80]}
    assert found.lonely == ("kota",)
    assert found.sizes == {"smallest": [63, 80], "middle": [160, 120], "largest": [160, 120]}


def test_check_tells_people_the_worst_first(untidy):
    lines = check(untidy).lines()
    told = "\n".join(lines)
    order = [
        "readable pictures: 9",
        "unreadable",
        "leaks",
        "several classes",
        "identical",
        "groups of near",
        "tiny",
        "single",
    ]
    places = [told.index(words) for words in order]
    assert places == sorted(places)
    assert "  gone.jpg: no such file (row 12)" in lines
    assert "  one item_id: val: 2.png; test: 3.png" in lines
    assert "  batik: same.png; ikat: 0.png" in lines


def test_check_names_the_picture_whose_place_takes_all_others_their_classes(tmp_path):
    for number, craft in enumerate(("ikat", "batik")):
        save(tmp_path / "train" / craft / "a.png", number)
        save(tmp_path / "test" / craft / "b.png", 2 + number)
    assert not check(tmp_path).beside and check(tmp_path).clusters == {"batik": 2, "ikat": 2}
    (tmp_path / "test" / "stray.jpg").write_bytes(b"no picture")
    found = check(tmp_path)
    assert found.beside == ("test/stray.jpg",) and found.clusters == {"": 4}
    assert any("beside folders" in line for line in found.lines())
    (tmp_path / "test" / "stray.jpg").rename(tmp_path / "stray.jpg")
    assert check(tmp_path).beside == ("stray.jpg",)
    manifest(tmp_path, "path,cluster\ntrain/ikat/a.png,ikat\nstray.jpg,\n")
    assert not check(tmp_path).beside


def test_check_is_ready_for_json(untidy):
    found = json.loads(json.dumps(check(untidy).to_dict()))
    assert found["unreadable"][0] == {"key": "gone.jpg", "reason": "no such file (row 12)"}
    assert found["leaks"][1] == {"why": "one item_id", "splits": {"val": ["2.png"], "test": ["3.png"]}}


def test_a_long_report_stays_short_and_its_json_complete(tmp_path):
    save(tmp_path / "good.png", 0)
    for number in range(25):
        (tmp_path / f"bad{number:02}.jpg").touch()
    found = check(tmp_path)
    assert "unreadable, left out: 25" in found.lines()
    assert "  ... and 15 more" in found.lines()
    assert len(found.lines()) < 20
    assert len(found.to_dict()["unreadable"]) == 25


def test_a_tidy_set_has_nothing_to_mend_and_a_seeded_split_never_leaks(tmp_path):
    for number in range(12):
        save(tmp_path / f"{number}.png", number)
    assert check(tmp_path).lines()[-1] == "nothing to mend"
    for number in range(12):
        cloth(number).save(tmp_path / f"{number}.jpg", quality=75)
    found = check(tmp_path)
    assert len(found.near_duplicates) == 12
    assert found.leaks == ()
    assert not found.split_given
    assert "none given" in found.lines()[1]
    assert found.splits == {split: len(read_data(tmp_path).of(split)) for split in data.SPLITS}


def test_a_set_in_which_nothing_can_be_read_is_still_looked_over(tmp_path):
    (tmp_path / "a.jpg").touch()
    found = check(tmp_path)
    assert (found.pictures, found.sizes, found.unreadable) == (0, {}, (Bad("a.jpg", "empty file"),))
    assert any("empty file" in line for line in found.lines())


def test_the_textiles_are_read_with_their_splits():
    if not TEXTILES.is_dir():
        pytest.skip("needs ../shared/data/textiles, which is for measuring and not part of the project")
    dataset = read_data(TEXTILES)
    assert [len(dataset.of(split)) for split in data.SPLITS] == [3102, 302, 879]
    assert dataset.bad == ()


def test_a_runs_own_pictures_are_no_data(tmp_path):
    for name in ("a.png", "start/run/pictures/epoch.png", "start/run/failures.png", "start/catalogue/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 80), "red").save(tmp_path / name)
    (tmp_path / "start/run/model.safetensors").touch()
    (tmp_path / "start/catalogue/catalogue.json").touch()
    assert [item.key for item in read_data(tmp_path).items] == ["a.png"]
