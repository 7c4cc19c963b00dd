"""The page Run as a visitor meets it, without a browser: figures, curves, pictures and cards of a run."""

from __future__ import annotations

import json
import shutil

import pytest

from apps.web.record import harmless
from saree_vae import checkpoint

WILD = "<img src=x>![x](http://a.example/x.png)"
SAID = ("markdown", "caption", "info", "error", "warning", "code")


def words(page) -> str:
    return "\n".join(one.value for kind in SAID for one in page.get(kind))


def charts(page) -> list[dict]:
    return [json.loads(one.proto.spec) for one in page.get("plotly_chart")]


def look(page, what: str):
    return page.segmented_control(key="look at run").set_value(what).run()


def figure(value, low=None, high=None, **more):
    return {"value": value, "low": low, "high": high, "n": 50} | more


@pytest.fixture
def run(shop, tmp_path):
    """A run of its own, that a test may change."""
    return shutil.copytree(shop / "run", tmp_path / "start" / "run")


@pytest.fixture
def results(run):
    """Figures as `evaluate` gives them, of this run."""
    rows = [
        ("motif and colour", True, figure(0.625, 0.5, 0.75)),
        (WILD, False, figure(0.875, 0.8, 0.95, best=True)),
        ("LBP", False, figure(0.25)),
    ]
    task = {
        "about": "Each looks for its own.",
        "queries": 1050,
        "gallery": 1200,
        "notes": ["Two do not ask."],
        "rows": [{"part": "", "name": name, "ours": ours, "figures": {"R@1": value}} for name, ours, value in rows],
    }
    return {
        "run": {"fingerprint": checkpoint.load(run).fingerprint},
        "data": {"name": "sarees", "pictures": {"test": 50}},
        "tasks": {"retrieval": task, "items": {"skipped": "No second photograph."}},
    }


def test_figures_stand_beside_the_best_baseline_with_their_intervals(front, run, results):
    (run / "results.json").write_text(json.dumps(results))
    page = front("record", run=str(run))
    assert not page.exception
    ours, others = charts(page)[0]["data"]
    assert (ours["name"], others["name"]) == ("this model", "best baseline")
    assert ours["text"] == ["62%"] and others["symbol" if "symbol" in others else "text"][0].startswith("88%")
    [table] = page.table
    rows = table.value.to_dict("records")
    assert rows[0] == {" ": "**motif and colour**", "R\\@1": "0\\.625 \\[0\\.500, 0\\.750\\]"}
    assert rows[1]["R\\@1"].startswith("**0\\.875**")
    assert rows[2] == {" ": "LBP", "R\\@1": "0\\.250"}
    told = words(page).replace("\\", "")
    assert "1,050 queries, among 1,200" in told and "Two do not ask." in told and "50 test" in told
    page = page.selectbox(key="task").set_value("items").run()
    assert "No second photograph" in words(page) and not page.table


def test_figures_beside_the_quickstarts_run_are_found_and_those_of_another_model_are_not(front, run, results):
    (run.parent / "results.json").write_text(json.dumps(results))
    assert front("record", run=str(run)).table
    results["run"]["fingerprint"] = "another"
    (run.parent / "results.json").write_text(json.dumps(results))
    page = front("record", run=str(run))
    assert not page.table and not page.exception
    assert "saree-vae evaluate RUN --data D --json RUN/results.json" in words(page)


@pytest.mark.parametrize("file", ["[1, 2]", "{", '{"run": 3}', '{"run": {"fingerprint": "x"', "\xff\xfe"])
def test_a_damaged_list_of_figures_is_told_in_words(front, run, file):
    (run / "results.json").write_text(file, encoding="latin-1")
    page = front("record", run=str(run))
    assert not page.exception
    assert "measure the run again" in page.error[0].value


def test_nothing_of_the_data_is_taken_as_markdown_or_html(front, run, results):
    results["data"]["name"] = results["tasks"]["retrieval"]["about"] = WILD
    results["tasks"]["retrieval"]["notes"] = [WILD]
    (run / "results.json").write_text(json.dumps(results))
    page = front("record", run=str(run))
    everything = words(page) + str(page.table[0].value.to_dict())
    assert "![x](" not in everything and "\\!\\[x\\]" in everything
    assert "<img" not in json.dumps(charts(page)[0]["data"])
    assert not any(one.proto.allow_html for one in page.markdown)


def test_training_is_drawn_as_curves_the_telling_ones_first(front, run):
    rows = [{"epoch": e, "reconstruct": -e, "val_phone_photo": e / 4, "own_number": 2 * e} for e in (1, 2, 3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = look(front("record", run=str(run)), "Training")
    assert not page.exception
    assert [one["data"][0]["y"] for one in charts(page)] == [[-1, -2, -3], [0.25, 0.5, 0.75]]
    assert "3 epochs" in words(page)
    page = page.toggle(key="all curves").set_value(True).run()
    assert len(charts(page)) == 3 and "own number" in words(page)


def test_pictures_are_shown_newest_first_and_its_mistakes_under_them(front, run):
    newest, *_ = sorted((run / "pictures").glob("*.png"), reverse=True)
    shutil.copy(newest, run / "pictures" / "epoch_0120.png")
    shutil.copy(newest, run / "failures.png")
    page = look(front("record", run=str(run)), "Pictures")
    assert not page.exception
    assert page.select_slider(key="grid").value == run / "pictures" / "epoch_0120.png"
    assert page.select_slider(key="grid").options[-1] == "epoch 120"
    assert [one.value for one in page.subheader] == ["What it draws", "Its surest mistakes"]
    page = page.select_slider(key="grid").set_value(newest).run()
    assert not page.exception


def test_cards_and_settings_are_shown_and_cannot_load_anything(front, run):
    (run / "model_card.md").write_text(f"# Model card: x\n\n## Numbers\n\n### views\n{WILD} [a](http://b.example)\n")
    (run.parent / "data_card.md").write_text("# Data card\n![][far]\n\n[far]: http://a.example/x.png\n")
    page = look(front("record", run=str(run)), "Cards")
    assert not page.exception
    told = words(page)
    assert [one.label for one in page.expander] == ["Model card", "Data card", "Settings"]
    assert "## Model card: x" in told and "### Numbers" in told and "**views**" in told
    assert "](" not in told and "![][" not in told and "]:" not in told
    assert "image\\_size" in told or "image_size" in told


@pytest.mark.parametrize(
    "card",
    [
        "![a](http://x/y.png)", "![a][b]\n\n[b]: http://x/y.png", "![b]\n\n[b]: http://x", "[a](http://x)",
        "[a]![q](z)(http://x)", "![![a](b)](http://x)", '![a](<http://x y> "t")', "![a]\n(http://x)",
    ],
)  # fmt: skip
def test_no_card_can_bring_a_picture_or_a_link(card):
    markdown = pytest.importorskip("markdown_it")
    shown = markdown.MarkdownIt().render(harmless(card))
    assert "<img" not in shown and "<a " not in shown
    assert "<img" in markdown.MarkdownIt().render(card) or "<a " in markdown.MarkdownIt().render(card) or "\n(" in card


def test_without_a_run_the_catalogues_model_is_shown_and_the_page_says_what_is_missing(front):
    page = front("record", run=None)
    assert "catalogue's model" in words(page) and "--run RUN" in words(page)
    for part, told in (("Training", "No training curves"), ("Pictures", "No pictures"), ("Cards", "no model card")):
        page = look(page, part)
        assert not page.exception
        assert told in words(page)
    assert "image_size" in words(page), "its settings are there"


def test_with_nothing_at_all_the_page_says_how_to_open_a_run(front):
    page = front("record", run=None, catalogue=None)
    assert not page.exception
    assert "saree-vae app --catalogue CAT --run RUN" in words(page)
