"""`fit-head` and `predict` as people use them, on painted cloth that passes for four crafts; then what goes wrong."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import head_steps, paint
from test_cli import refused
from test_kg_schema import plant
from typer.testing import CliRunner, Result

from apps import cli
from kg import load_graph, schema
from kg.graph import resolve
from kg.head import Head, Prediction
from saree_vae import data

# What the painted motifs pass for: by id, by name, by another spelling, by the label of photographs.
CRAFTS = {"dots": "bandhani", "checks": "Poleng Check", "stripes": "lungi", "diamonds": "batik_kawung"}
IDS = ("bandhani_generic", "batik_kawung", "lungi", "poleng_check")


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def told(result: Result) -> str:
    """What people read on standard error, without bars."""
    return "\n".join(line for line in result.stderr.splitlines() if "━" not in line)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Most tests do not mind what is learnt."""
    with head_steps(20):
        yield


@pytest.fixture(scope="module")
def named(cloth, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crafts") / "cloth"
    shutil.copytree(cloth, folder)
    return manifest(folder, CRAFTS)


def manifest(folder: Path, crafts: dict[str, str]) -> Path:
    """Give the painted motifs of a folder other labels."""
    header, *rows = (folder / "manifest.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    changed = [",".join([path, crafts[path.partition("/")[0]], *more]) for path, _, *more in cells]
    (folder / "manifest.csv").write_text("\n".join([header, *changed]) + "\n")
    return folder


@pytest.fixture(scope="module")
def fitting(tiny_run, named, tmp_path_factory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("heads") / "head"
    with head_steps(200):
        return out, run("fit-head", tiny_run, "--data", named, "--out", out, "--crops", 0)


@pytest.fixture
def head(fitting) -> Path:
    return fitting[0]


@pytest.fixture
def certain(monkeypatch):
    """A cluster is named however unlikely it is."""
    monkeypatch.setattr(Head, "limit", lambda *_: 0.0)


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    return Path(shutil.copytree(schema.FACTS, tmp_path / "facts"))


# --- fit-head ---


def test_fitting_tells_what_was_learnt_and_what_to_do_next(fitting, named):
    out, result = fitting
    items = data.read_data(named).items
    train, val = (sum(item.split == split for item in items) for split in ("train", "val"))
    assert result.stdout == ""
    told_of = " ".join(told(result).split())
    assert f"{out}: 4 clusters from {train} pictures; calibrated on {val} pictures of val" in told_of
    assert "too few to promise that at most 10% are wrong" in told_of
    assert f"next: saree-vae predict {out} --why IMAGE" in told_of


def test_a_head_carries_its_model_and_names_what_it_knows(fitting, tiny_run):
    out, _ = fitting
    assert {path.name for path in out.iterdir()} == {"head.yaml", "head.safetensors", "model"}
    assert (out / "model/model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()
    about = (out / "head.yaml").read_text()
    assert all(f"  {name}: 5\n" in about for name in IDS)


def test_a_head_fitted_again_takes_the_place_of_the_old_one_and_of_its_model(tiny_run, named, head, cloth, tmp_path):
    again = Path(shutil.copytree(head, tmp_path / "head"))
    (again / "model/model.safetensors").write_bytes(b"of a model that was there before")
    with head_steps(200):
        run("fit-head", tiny_run, "--data", named, "--out", again, "--crops", 0)
    picture = cloth / "dots/1_0.png"
    once, twice = (json.loads(run("predict", one, picture, "--json").stdout) for one in (head, again))
    assert once["predictions"] == twice["predictions"]


def test_regions_of_a_picture_are_looked_at_too(tiny_run, named, cloth, tmp_path):
    run("fit-head", tiny_run, "--data", named, "--out", tmp_path / "head", "--crops", 2)
    assert "crops: 2\n" in (tmp_path / "head/head.yaml").read_text()
    document = json.loads(run("predict", tmp_path / "head", cloth / "dots/1_0.png", "--json").stdout)
    assert len(document["predictions"]) == 1


def test_a_picture_that_cannot_be_read_is_skipped_and_named(tiny_run, named, tmp_path, capsys, monkeypatch):
    harmed = Path(shutil.copytree(named, tmp_path / "cloth"))
    (harmed / "dots/1_0.png").write_bytes(b"")
    call = ("fit-head", tiny_run, "--data", harmed, "--crops", 0, "--out")
    assert "skipped dots/1_0.png: " in told(run(*call, tmp_path / "head"))
    assert "  bandhani_generic: 4\n" in (tmp_path / "head/head.yaml").read_text()
    assert "dots/1_0.png" in refused(capsys, monkeypatch, *call, tmp_path / "other", "--strict")
    assert not (tmp_path / "other").exists()


def test_labels_that_the_graph_does_not_know_are_named_or_skipped(tiny_run, named, tmp_path, capsys, monkeypatch):
    odd = Path(shutil.copytree(named, tmp_path / "cloth"))
    manifest(odd, CRAFTS | {"dots": "bandani work", "stripes": "paithni"})
    call = ("fit-head", tiny_run, "--data", odd, "--crops", 0, "--out", tmp_path / "head")
    line = refused(capsys, monkeypatch, *call)
    assert "2 of 4 labels are not in the graph: no cluster is called 'bandani work'" in line
    assert "no cluster is called 'paithni'; the nearest are Paithani" in line and "--skip-unknown" in line
    assert not (tmp_path / "head").exists()
    heard = told(run(*call, "--skip-unknown"))
    assert "no cluster is called 'paithni'" in heard and "2 clusters from" in heard


def test_labels_of_test_pictures_are_not_looked_at(tiny_run, named, tmp_path):
    odd = Path(shutil.copytree(named, tmp_path / "cloth"))
    text = (odd / "manifest.csv").read_text()
    (odd / "manifest.csv").write_text(re.sub(r",[^,\n]+,test,", ",paithni,test,", text))
    run("fit-head", tiny_run, "--data", odd, "--crops", 0, "--out", tmp_path / "head")


@pytest.mark.parametrize(
    ("crafts", "says"),
    [
        (dict.fromkeys(CRAFTS, ""), "no picture has a label to learn from; labels are class folders, or a column"),
        (dict.fromkeys(CRAFTS, "batik_unlabelled"), "the labels name none"),
        ({**dict.fromkeys(CRAFTS, "lungi"), "dots": "pattern_dotted"}, "the labels name only lungi"),
    ],
)
def test_labels_that_tell_nothing_apart_are_refused(tiny_run, named, tmp_path, capsys, monkeypatch, crafts, says):
    poor = manifest(Path(shutil.copytree(named, tmp_path / "cloth")), crafts)
    out = tmp_path / "head"
    assert says in refused(capsys, monkeypatch, "fit-head", tiny_run, "--data", poor, "--out", out, "--crops", 0)
    assert not out.exists()


def test_facts_with_a_cycle_are_refused_before_anything_is_read(tiny_run, named, facts, tmp_path, capsys, monkeypatch):
    row = plant(facts, "vocabulary.csv", "technique/ikat", "broader", "warp ikat")
    line = refused(
        *(capsys, monkeypatch, "fit-head", tiny_run, "--data", named),
        *("--out", tmp_path / "head", "--facts", facts),
    )
    assert "vocabulary.csv" in line and "broader" in line and str(row) in line
    assert not (tmp_path / "head").exists()


@pytest.mark.parametrize("made", ["a run", "pictures"])
def test_nothing_else_is_written_over(tiny_run, named, tmp_path, capsys, monkeypatch, made):
    out = Path(shutil.copytree(tiny_run if made == "a run" else named, tmp_path / "there"))
    before = sorted(path.name for path in out.rglob("*"))
    line = refused(capsys, monkeypatch, "fit-head", tiny_run, "--data", named, "--out", out, "--crops", 0)
    assert "is no part of a head; choose another folder" in line
    assert sorted(path.name for path in out.rglob("*")) == before


# --- predict ---


def test_each_picture_is_answered_in_its_turn(head, cloth, certain):
    pictures = [cloth / "dots/1_0.png", cloth / "checks/2_0.png"]
    lines = [line for line in run("predict", head, *pictures).stdout.splitlines() if line[0] != " "]
    names = {data["name"] for _, data in load_graph().nodes(data=True) if data["kind"] == "cluster"}
    for line, picture in zip(lines, pictures, strict=True):
        answer = re.fullmatch(rf"{re.escape(str(picture))}: (.+) [01]\.\d\d \(.+ < .+ < .+\)", line)
        assert answer and answer[1] in names


def test_what_is_not_sure_is_unsure_with_the_likeliest(head, cloth):
    text = run("predict", head, cloth / "dots/1_0.png", "--risk", 0).stdout
    first, likeliest, new = text.splitlines()
    assert first == f"{cloth / 'dots/1_0.png'}: unsure"
    assert likeliest.startswith("  likeliest: ") and len(re.findall(r" [01]\.\d\d", likeliest)) >= 2
    assert new.startswith("  of clusters it was never shown, by the graph alone: ")


def test_a_group_is_told_where_its_clusters_cannot_be(head, cloth, monkeypatch):
    groups = {
        "subgroup": ("ceplokan grid", 0.5),
        "parent_group": ("central Javanese court batik", 0.97),
        "super_group": ("batik (wax resist)", 0.98),
    }
    one = Prediction(
        *("x.png", "central Javanese court batik", "parent_group", 0.97),
        *((("batik_kawung", 0.5), ("batik_parang", 0.4), ("lungi", 0.001)), groups),
        never_shown=(("batik_nitik", 0.2),),
        unseen=False,
        fit=0.4,
        novel=False,
        unlike=False,
        nearest=(),
    )
    monkeypatch.setattr(Head, "predict", lambda *_, **__: [one])
    assert run("predict", head, cloth / "dots/1_0.png").stdout.splitlines() == [
        "x.png: central Javanese court batik 0.97 (parent group); which cluster is unsure",
        "  likeliest: Batik kawung 0.50, Batik parang 0.40",
        "  of clusters it was never shown, by the graph alone: Batik nitik",
    ]


def test_what_may_be_of_a_cluster_never_shown_is_told_so(head, tmp_path):
    wary = Path(shutil.copytree(head, tmp_path / "head"))
    text = (wary / "head.yaml").read_text()
    assert "novel: -.inf\n" in text  # few pictures were checked
    (wary / "head.yaml").write_text(text.replace("novel: -.inf\n", "novel: 1.5\n"))
    paint("dots", "#123456").save(tmp_path / "x.png")
    first = run("predict", wary, tmp_path / "x.png", "--risk", 0.9).stdout.splitlines()[0]
    assert first.endswith("which cluster is unsure, perhaps one it was never shown")
    (told,) = json.loads(run("predict", wary, tmp_path / "x.png", "--risk", 0.9, "--json").stdout)["predictions"]
    assert told["novel"] and told["fit"] < 1.5 and told["level"] != "cluster"


def test_what_is_unlike_anything_seen_is_told_so(head, tmp_path):
    harmed = Path(shutil.copytree(head, tmp_path / "head"))
    text = (harmed / "head.yaml").read_text()
    (harmed / "head.yaml").write_text(re.sub(r"lonely: .*", "lonely: 1.5", text))
    paint("dots", "#123456").save(tmp_path / "x.png")
    told_of = run("predict", harmed, tmp_path / "x.png", "--risk", 0.9).stdout.splitlines()
    assert told_of[0] == f"{tmp_path / 'x.png'}: unsure, and unlike anything seen"


def test_why_tells_reasons_rows_sources_and_the_nearest_pieces(head, cloth, named):
    text = run("predict", head, cloth / "dots/1_0.png", "--why", "--risk", 0.9).stdout
    assert "\n  to be seen, as far as can be told: " in text
    assert re.search(r"\n  what speaks for .+ \(by its looks alone [01]\.\d\d, with what is known of the craft", text)
    reasons = re.findall(r"\n    .+: odds times \d+\.\d \(without it [01]\.\d\d\); .+ - .+ \[(\d[\d, ]*)\]", text)
    assert reasons
    rows = re.findall(r"\n    \[(\d+)\] (?:.*; )?(\w+\.csv), row (\d+) \((\w+)\): \S+", text)
    assert {number for told_by in reasons for number in told_by.split(", ")} == {row[0] for row in rows}
    assert {row[1] for row in rows} <= {"clusters.csv", "visual_attributes.csv"}
    near = text.rpartition("  nearest labelled pieces: ")[2]
    assert near.startswith("dots/1_0.png (bandhani_generic, 1.00), ") and near.count("(") == 5


def test_json_is_one_document_with_all_that_is_said(head, cloth, certain):
    pictures = [cloth / "dots/1_0.png", cloth / "stripes/2_7.png"]
    result = run("predict", head, *pictures, "--json", "--why")
    document = json.loads(result.stdout)
    assert set(document) == {"head", "risk", "predictions", "unreadable"} and document["unreadable"] == []
    assert [one["key"] for one in document["predictions"]] == [str(picture) for picture in pictures]
    for one in document["predictions"]:
        assert one["level"] == "cluster" and one["answer"] == one["clusters"][0][0] == one["why"]["cluster"]
        assert one["probability"] == pytest.approx(one["why"]["probability"], abs=1e-5)
        assert sum(p for _, p in one["clusters"]) == pytest.approx(1, abs=1e-6)  # it knows four
        assert set(one["groups"]) == set(schema.GROUP_LEVELS) and len(one["nearest"]) == 5
        assert all(0 <= strength <= 1 for strength in one["why"]["attributes"].values())
        assert all(fact["sources"] for reason in one["why"]["reasons"] for fact in reason["facts"])
    (short,) = json.loads(run("predict", head, pictures[0], "--json").stdout)["predictions"]
    assert "why" not in short


def test_clusters_never_shown_compete_where_asked(head, cloth):
    picture = cloth / "dots/1_0.png"
    (one,) = json.loads(run("predict", head, picture, "--json", "--unseen").stdout)["predictions"]
    (other,) = json.loads(run("predict", head, picture, "--json").stdout)["predictions"]
    assert one["unseen"] and not other["unseen"]
    assert sum(p for _, p in one["clusters"]) < 1 and {name for name, _ in other["clusters"]} == set(IDS)


def test_statements_are_linked_data_with_the_hash_of_each_picture(head, cloth, tmp_path, certain):
    pictures = [cloth / "dots/1_0.png", cloth / "checks/1_0.png"]
    before = {path.name: path.read_bytes() for path in schema.FACTS.iterdir()}
    result = run("predict", head, *pictures, "--rdf", tmp_path / "told.jsonld", "--json")
    document = json.loads((tmp_path / "told.jsonld").read_text(encoding="utf-8"))
    said = json.loads(result.stdout)["predictions"]
    for statement, picture, one in zip(document["@graph"], pictures, said, strict=True):
        sha256 = hashlib.sha256(picture.read_bytes()).hexdigest()
        assert statement["crm:P140_assigned_attribute_to"]["@id"] == f"urn:sha256:{sha256}"
        assert statement["crm:P140_assigned_attribute_to"]["rdfs:label"] == str(picture)
        assert statement["crm:P141_assigned"]["@id"] == f"urn:saree-vae:kg:cluster:{one['answer']}"
        assert statement["kg:probability"] == one["probability"]
    assert "statements in " in told(result)
    assert {path.name: path.read_bytes() for path in schema.FACTS.iterdir()} == before  # no fact is made of it


def test_unsure_states_nothing(head, cloth, tmp_path):
    run("predict", head, cloth / "dots/1_0.png", "--rdf", tmp_path / "told.jsonld", "--risk", 0)
    assert json.loads((tmp_path / "told.jsonld").read_text())["@graph"] == []


def test_the_same_picture_twice_is_one_piece(head, cloth):
    picture = cloth / "dots/1_0.png"
    document = json.loads(run("predict", head, picture, cloth / "checks/1_0.png", picture, "--json").stdout)
    assert [one["key"] for one in document["predictions"]] == [str(picture), str(cloth / "checks/1_0.png")]


def test_a_picture_is_answered_alike_alone_and_among_others(head, cloth):
    pictures = sorted(cloth.glob("*/1_*.png"))
    among = json.loads(run("predict", head, *pictures, "--json").stdout)["predictions"][3]
    (alone,) = json.loads(run("predict", head, pictures[3], "--json").stdout)["predictions"]
    assert (alone["key"], alone["answer"]) == (among["key"], among["answer"])
    assert alone["probability"] == pytest.approx(among["probability"], abs=1e-4)


def test_unreadable_pictures_are_named_and_the_others_answered(head, cloth, tmp_path):
    (tmp_path / "words.jpg").write_text("just some words")
    pictures = [tmp_path / "words.jpg", cloth / "dots/1_0.png", tmp_path / "missing.jpg"]
    result = run("predict", head, *pictures, "--json", "--rdf", tmp_path / "told.jsonld", "--risk", 0.9)
    document = json.loads(result.stdout)
    assert [one["key"] for one in document["predictions"]] == [str(cloth / "dots/1_0.png")]
    assert [one["key"] for one in document["unreadable"]] == [str(pictures[0]), str(pictures[2])]
    assert f"skipped {tmp_path / 'missing.jpg'}: " in told(result)
    assert len(json.loads((tmp_path / "told.jsonld").read_text())["@graph"]) == 1


def test_no_readable_picture_is_an_error(head, tmp_path, capsys, monkeypatch):
    (tmp_path / "words.jpg").write_text("just some words")
    line = refused(capsys, monkeypatch, "predict", head, tmp_path / "words.jpg", tmp_path / "missing.jpg", "--json")
    assert "none of 2 pictures could be read" in line and "words.jpg" in line


# --- heads and facts that do not fit ---


def test_a_head_moves_with_its_model(head, cloth, tmp_path):
    moved = shutil.copytree(head, tmp_path / "elsewhere")
    asked = (cloth / "dots/1_0.png", "--json")
    here, there = (json.loads(run("predict", one, *asked).stdout)["predictions"] for one in (head, moved))
    assert here == there


def test_another_models_head_is_refused(head, tiny_run, cloth, tmp_path, capsys, monkeypatch):
    other = Path(shutil.copytree(head, tmp_path / "head"))
    weights = (other / "model/model.safetensors").read_bytes()
    (other / "model/model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    line = refused(capsys, monkeypatch, "predict", other, cloth / "dots/1_0.png")
    assert "the head was fitted on latents of model" in line and "fit it again with `saree-vae fit-head`" in line


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda head: shutil.rmtree(head), "not a head: expected head.yaml"),
        (lambda head: shutil.rmtree(head / "model"), "model"),
        (lambda head: (head / "head.safetensors").write_bytes(b"no tensors"), "a damaged head"),
        (lambda head: (head / "head.yaml").write_text("format: 1\n"), "a head of format 1, expected 3; fit it again"),
    ],
)
def test_what_is_no_head_is_told_in_a_sentence(head, cloth, tmp_path, capsys, monkeypatch, harm, says):
    harmed = Path(shutil.copytree(head, tmp_path / "head"))
    harm(harmed)
    line = refused(capsys, monkeypatch, "predict", harmed, cloth / "dots/1_0.png")
    assert str(harmed) in line and says in line


def test_facts_that_have_changed_are_told_and_it_goes_by_the_old_ones(head, cloth, facts):
    pictures = sorted(cloth.glob("*/1_0.png"))
    call = ("predict", head, *pictures, "--risk", 0.9, "--json", "--why")
    as_fitted = run(*call)
    assert "the facts have changed" not in told(as_fitted)
    before = json.loads(as_fitted.stdout)["predictions"]
    gone = set()
    for one in before:
        for reason in one["why"]["reasons"]:
            subject, attribute = (reason["facts"][0]["cluster"].partition(":")[2], reason["node"].partition(":")[2])
            if reason["strength"] is not None:
                plant(facts, "visual_attributes.csv", f"{subject}/{attribute}", "value", "unknown")
                plant(facts, "visual_attributes.csv", f"{subject}/{attribute}", "confidence", "")
                gone.add((one["key"], reason["node"]))
    assert gone
    changed = run(*call, "--facts", facts)
    assert "the facts have changed since the head was fitted" in told(changed)
    after = json.loads(changed.stdout)["predictions"]
    assert [one["clusters"] for one in after] == [one["clusters"] for one in before]
    assert gone.isdisjoint((one["key"], reason["node"]) for one in after for reason in one["why"]["reasons"])


def test_a_remark_in_the_facts_changes_no_answer(head, cloth, facts):
    plant(facts, "clusters.csv", "lungi", "note", "a remark")
    result = run("predict", head, cloth / "dots/1_0.png", "--facts", facts)
    assert "the facts have changed since the head was fitted" in told(result)
    assert result.stdout == run("predict", head, cloth / "dots/1_0.png").stdout


def test_a_cluster_that_is_gone_from_the_facts_is_an_error(head, cloth, facts, tmp_path, capsys, monkeypatch):
    text = (head / "head.yaml").read_text()
    older = Path(shutil.copytree(head, tmp_path / "head"))
    (older / "head.yaml").write_text(text.replace("  lungi: 5\n", "  lungi_of_old: 5\n"))
    line = refused(capsys, monkeypatch, "predict", older, cloth / "dots/1_0.png", "--facts", facts)
    assert "the facts know no cluster 'lungi_of_old', which the head does; fit it again, or take --facts" in line


# --- in search ---


def test_search_finds_what_a_head_names_and_marks_it_as_predicted(tiny_run, head, named, tmp_path, monkeypatch):
    monkeypatch.setattr(Head, "limit", lambda *_: 0.0)  # it names every piece
    mixed = Path(shutil.copytree(named, tmp_path / "cloth"))
    header, *rows = (mixed / "manifest.csv").read_text().splitlines()
    unlabelled = [re.sub(r"(.+_7\.png),[^,]*,", r"\1,,", row) for row in rows]
    (mixed / "manifest.csv").write_text("\n".join([header, *unlabelled]) + "\n")
    run("index", tiny_run, "--data", mixed, "--out", tmp_path / "cat")
    pieces = [mixed / row.partition(",")[0] for row in unlabelled if ",," in row]
    said = json.loads(run("predict", head, *pieces, "--json").stdout)["predictions"]
    named_so = {str(Path(one["key"]).relative_to(mixed)): one["answer"] for one in said}
    assert len(named_so) == 16
    asked = ("search", tmp_path / "cat", mixed / "dots/1_0.png", "-k", 50, "--json", "--where")
    for term, cluster, label in (
        ("tie-dye", "bandhani_generic", "bandhani"),
        ("wax resist", "batik_kawung", "batik_kawung"),
    ):
        labelled = json.loads(run(*asked, f"technique ~ '{term}'").stdout)["hits"]
        hits = json.loads(run(*asked, f"technique ~ '{term}'", "--head", head).stdout)["hits"]
        assert {hit["cluster"] for hit in labelled} == {label}
        assert [hit["key"] for hit in hits if hit["cluster"]] == [hit["key"] for hit in labelled]
        predicted = {hit["key"]: hit["predicted"]["cluster"] for hit in hits if not hit["cluster"]}
        assert predicted == {key: name for key, name in named_so.items() if name == cluster} != {}
        assert not any("predicted" in hit for hit in hits if hit["cluster"])
    run("search", tmp_path / "cat", mixed / "dots/1_0.png", "--head", head, status=2)


# --- help ---


@pytest.mark.parametrize("command", ["fit-head", "predict"])
def test_help_teaches_and_loads_nothing_heavy(command):
    code = (
        "import sys; from typer.testing import CliRunner; from apps import cli\n"
        f"print(CliRunner().invoke(cli.app, ['{command}', '--help']).output)\n"
        "print({'torch', 'numpy', 'networkx', 'sklearn', 'PIL', 'kg.head'} & set(sys.modules))"
    )
    root = Path(__file__).parent.parent
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    assert out.rstrip().endswith("set()")
    words = " ".join(out.replace("│", " ").split())
    assert {
        "fit-head": "A few pictures of each cluster will do; those without a label then help as well.",
        "predict": "A prediction is never written into the facts.",
    }[command] in words


def test_wrong_usage_exits_with_two(head, cloth):
    run("predict", head, status=2)
    run("predict", head, cloth / "dots/1_0.png", "--risk", 2, status=2)
    run("fit-head", head, status=2)


def test_the_labels_of_this_test_are_the_clusters_it_means():
    assert sorted(resolve(load_graph(), label).partition(":")[2] for label in CRAFTS.values()) == list(IDS)
