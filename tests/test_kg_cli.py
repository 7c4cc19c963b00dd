"""`saree-vae kg`: answers for people and as JSON, mistakes by file, row and column, and a quick help."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_kg_schema import plant
from typer.testing import CliRunner

from apps.knowledge import app, labels_with
from kg import schema
from saree_vae.errors import SareeError


def ask(*words: str | Path, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    if isinstance(result.exception, SareeError):
        raise result.exception  # told in a sentence by the caller
    assert result.exit_code == status, result.output
    return result.stdout


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    return Path(shutil.copytree(schema.FACTS, tmp_path / "facts"))


def test_validate_counts_what_is_well():
    assert ask("validate") == (
        "no mistake in 99 clusters, 391 vocabulary, 80 confusions, 20 attributes, 2280 visual attributes, 51 labels, "
        "99 groups, 29 states, 3 countries\n"
    )


def test_validate_names_mistakes_in_a_table_and_exits_with_1(facts):
    row = plant(facts, "clusters.csv", "gadwal", "techniques", "kutu interlock")
    plant(facts, "groups.csv", "gadwal", "sources", "")
    header, first, second, last = (line.split() for line in ask("validate", facts, status=1).splitlines())
    assert header == ["file", "row", "column", "what", "is", "wrong"]
    assert first[:3] == ["clusters.csv", str(row), "techniques"]
    assert first[-4:] == ["you", "mean", "'kuttu", "interlock'?"]
    assert second[:3] == ["groups.csv", "5", "sources"]
    assert last == ["2", "mistakes"]


def test_validate_as_json(facts):
    row = plant(facts, "clusters.csv", "gadwal", "confidence", "sure")
    (mistake,) = json.loads(ask("validate", facts, "--json", status=1))["mistakes"]
    assert [mistake[name] for name in ("file", "row", "column", "value")] == [
        *("clusters.csv", row, "confidence", "sure"),
    ]
    assert json.loads(ask("validate", "--json")) == {"mistakes": []}


def test_show_reads_as_a_page():
    told = ask("show", "kanjivaram")
    assert told.startswith("Kanchipuram silk (kanchipuram), saree: Kanchipuram, Tamil Nadu, India\n")
    assert "uses technique  korvai" in told
    assert "in a photograph, yes: border contrast, pallu distinct, zari sheen" in told
    assert "kanchipuram or banarasi brocade? to be seen in a photograph: yes; confidence high" in told
    assert told.rstrip().endswith("public craft map (coordinates)")


def test_show_of_an_umbrella_counts_its_members():
    told = ask("show", "bandhani")
    assert "stands for: bandhani_jamnagar, bandhani_kutch, bandhej_jodhpur" in told
    assert "3 of 3" in told and "1 of 3" in told
    assert "but in those labelled bandhani, no: figurative animals" in told


def test_addresses_are_never_broken_over_lines():
    address = max(json.loads(ask("show", "gadwal", "--json"))["sources"], key=len)
    result = CliRunner().invoke(app, ["show", "gadwal"], env={"COLUMNS": "40"})
    assert address in result.stdout


def test_path_is_a_chain_with_rows_and_sources():
    first, provenance, second, _ = ask("path", "gadwal", "molakalmuru").splitlines()
    assert first == "Gadwal - uses technique - kuttu interlock (2 clusters)"
    assert provenance.startswith("    clusters.csv, row 5 (high): https://hepcindia.com/")
    assert second == "Molakalmuru - uses technique - kuttu interlock"


def test_compare_tells_what_can_be_seen():
    told = ask("compare", "banarasi", "kanchipuram")
    assert told.startswith("banarasi brocade and kanchipuram share 11% of their evidence\nboth: brocading (3), ")
    assert "known of kanchipuram only: bendhu (1)" in told
    assert "border contrast  sometimes         yes" in told


def test_compare_admits_what_is_not_known():
    assert "(of gopalpur tussar nothing is known about: technique, zari, " in ask(
        "compare", "kotpad", "gopalpur_tussar"
    )


def test_near_lists_the_nearest_first():
    rows = ask("near", "gadwal", "-k", "2").splitlines()
    assert len(rows) == 3 and "Karvath Kati" in rows[1]


def test_using_finds_narrower_terms():
    told = ask("using", "ikat")
    assert "narrower: double ikat, single ikat, warp ikat, weft ikat" in told
    assert "patan_patola" in told and "gadwal" not in told


@pytest.mark.parametrize(
    "words",
    [
        ("show", "gadwal"),
        ("path", "gadwal", "ilkal"),
        ("compare", "gadwal", "ilkal"),
        ("near", "gadwal"),
        ("using", "ikat"),
    ],
)
def test_json_is_one_document(words):
    assert json.loads(ask(*words, "--json"))


def test_other_facts_can_be_asked(facts):
    plant(facts, "clusters.csv", "gadwal", "name", "Gadwal of the test")
    assert ask("show", "gadwal", "--facts", facts).startswith("Gadwal of the test (gadwal)")


def test_export_writes_by_ending(tmp_path):
    for name in ("kg.graphml", "kg.jsonld", "kg.html"):
        assert ask("export", tmp_path / name).startswith("785 nodes and 3697 edges in ")
        assert (tmp_path / name).stat().st_size > 100_000


def test_an_unknown_name_is_one_sentence():
    with pytest.raises(SareeError, match=r"^no cluster is called 'paithni'; the nearest are Paithani"):
        ask("show", "paithni")
    with pytest.raises(SareeError, match=r"^no term is called 'brocade'; the nearest are brocading"):
        ask("using", "brocade")


def test_help_teaches_and_loads_nothing_heavy():
    told = ask("--help")
    assert "What is not known is left empty: it is not a no." in " ".join(told.replace("│", " ").split())
    code = "import sys, apps.knowledge; print({'networkx', 'numpy', 'kg.schema'} & set(sys.modules))"
    root = Path(__file__).parent.parent
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    assert out.strip() == "set()"


def test_a_question_to_the_graph_finds_labels_however_they_name_a_cluster():
    asked = labels_with(["Yeola Paithani", "batik_kawung", "jamdani", "no craft of this name", "paithani"])
    assert asked("technique", "wax resist") == ["batik_kawung"]
    assert asked("fibre", "silk") and "no craft of this name" not in asked("fibre", "silk")
    assert {"Yeola Paithani", "paithani"} <= set(asked("technique", "tapestry interlock"))
    with pytest.raises(SareeError, match="no question to the graph"):
        asked("colour", "red")
