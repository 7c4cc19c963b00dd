"""The report: everything inside one file, nothing of the data taken as markup, and the numbers it was given."""

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from saree_vae import report
from saree_vae.errors import SareeError

VOID = {"meta", "img", "br", "link", "input", "hr"}
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text, and tags left open or closed twice."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.unbalanced, self.text = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def figure(value, low=None, high=None, **more):
    return {"value": value, "low": low, "high": high, "n": 50} | more


def results(**tasks):
    """Results as `evaluate` gives them."""
    model = {"image_size": 64, "motif_dim": 8, "colour_dim": 4, "encoder": "conv", "likelihood": "gaussian"}
    return {
        "run": {"path": "run", "fingerprint": "f1n9e2", "config_digest": "c0", "config": {"model": model}},
        "data": {"name": "sarees", "digest": "d1", "pictures": {"train": 1200, "test": 50}, "unreadable": []},
        "seed": 0,
        "tasks": tasks,
    }


def retrieval():
    rows = [
        ("motif and colour", True, figure(0.625, 0.5, 0.75)),
        ("LBP", False, figure(0.875, 0.8, 0.95, best=True)),
        ("colour histogram", False, figure(0.25, 0.1, 0.4)),
    ]
    return {
        "about": "Each looks for its own.",
        "queries": 50,
        "gallery": 1200,
        "notes": ["Two do not ask."],
        "rows": [{"part": "", "name": name, "ours": ours, "figures": {"R@1": value}} for name, ours, value in rows],
    }


def png():
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def written(tmp_path, **options):
    options = {"title": "Report", "run_path": tmp_path, "results": results(retrieval=retrieval())} | options
    path = report.write_report(tmp_path / "report.html", **options)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_asks_nothing_of_the_network(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "loss": 1.0}\n')
    page = written(
        tmp_path,
        pictures={"motif": ("Search", "Six hits", png())},
        next_steps=[("Search", "saree-vae search c p.jpg")],
        notes=["Few pictures."],
    )
    assert (page.open, page.unbalanced) == ([], [])
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ADDRESSES]
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\((?!#)|@import|<script", html)
    policy = next(meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy["content"]


def test_every_link_leads_to_a_place_on_the_page(tmp_path):
    page = written(tmp_path, pictures={"motif": ("Search", "Six hits", png())}, next_steps=[("Search", "x")])
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"].removeprefix("#") for attributes in page.all("a")]
    assert len(links) >= 4
    assert set(links) <= places


def test_nothing_of_the_data_is_taken_as_markup(tmp_path):
    wild = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    given = results(retrieval=retrieval(), items={"skipped": wild})
    given["data"] |= {"name": wild, "unreadable": [{"key": wild, "reason": wild}]}
    given["tasks"]["retrieval"]["rows"][1]["name"] = wild
    given["tasks"]["retrieval"]["rows"][1]["part"] = wild
    given["tasks"]["retrieval"]["notes"] = [wild, f"`{wild}`"]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"epoch": n, wild: n}) + "\n" for n in (1, 2)))
    page = written(
        tmp_path,
        title=wild,
        results=given,
        notes=[wild],
        next_steps=[(wild, wild)],
        pictures={wild: (wild, wild, png())},
    )
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("alert(1)") >= 8


def test_what_stands_between_backticks_is_set_as_code(tmp_path):
    page = written(tmp_path, notes=["As `search <u>` does; one ` alone."])
    assert len(page.all("code")) == 1
    assert not page.all("u")
    assert "As search <u> does; one ` alone." in page.text


def test_a_picture_carries_its_caption_for_those_who_cannot_see_it(tmp_path):
    (picture,) = written(tmp_path, pictures={"motif": ("Search", "Six hits by motif", png())}).all("img")
    assert picture["alt"] == "Six hits by motif"


def test_the_first_screen_sets_the_model_beside_the_best_baseline(tmp_path):
    text = " ".join(written(tmp_path).text.split())
    short = text[text.index("Is the first hit of the same class?") : text.index("All numbers On the test split")]
    assert short.split()[-6:] == ["0.62", "motif", "and", "colour", "0.88", "LBP"]
    assert "histogram" not in short  # which found less than LBP


def test_the_first_screen_of_a_catalogue_with_regions_is_by_regions_and_no_baseline_is_by_kin():
    names = ("motif and colour", "motif and colour, by regions", "LBP", "LBP, by kin")
    rows = [
        {"part": "", "name": name, "ours": name.startswith("motif"), "figures": {"R@1": figure(value)}}
        for name, value in zip(names, (0.5, 0.6, 0.4, 0.7), strict=True)
    ]
    for regions, told in ((False, [0.5, 0.4]), (True, [0.6, 0.4])):
        (line,) = report.headlines({"retrieval": {"rows": rows}}, regions=regions)
        assert [mark["figure"]["value"] for mark in line["marks"]] == told
    verified = {"part": "", "name": f"{names[1]}, verified", "ours": True, "figures": {"R@1": figure(0.9)}}
    for regions, told in ((False, 0.5), (True, 0.9)):
        (line,) = report.headlines({"retrieval": {"rows": [*rows, verified]}}, regions=regions)
        assert line["marks"][0]["figure"]["value"] == told


def test_the_table_holds_the_figures_with_intervals_and_the_best_is_bold(tmp_path):
    page = written(tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page.all("strong")) == 1
    assert "<strong>0.875</strong>" in html
    text = " ".join(page.text.split())
    assert "0.625 0.500 to 0.750" in text
    assert "50 queries, gallery of 1,200." in text
    assert "Two do not ask." in text


def test_a_skipped_task_is_told_in_its_own_sentence(tmp_path):
    assert (
        "There is no second photograph."
        in written(tmp_path, results=results(items={"skipped": "There is no second photograph."})).text
    )


def test_counts_are_whole_and_what_is_missing_is_a_dash(tmp_path):
    rows = [
        {"part": "", "name": "active", "ours": True, "figures": {"mean": figure(12.0, count=True)}},
        {"part": "", "name": "PSNR", "ours": True, "figures": {"mean": figure(None)}},
    ]
    task = {"about": "A.", "queries": 3, "rows": rows, "notes": []}
    text = " ".join(written(tmp_path, results=results(likelihood=task)).text.split())
    assert "active 12 PSNR –" in text


def test_curves_are_drawn_of_what_was_logged_and_only_of_that(tmp_path):
    lines = [{"epoch": n, "loss": 4.0 - n, "seconds": None, "odd": float("nan")} for n in (1, 2, 3)]
    lines[2]["val_elbo"] = 7.0  # told once: no curve yet
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 4, "lo'  # cut off by a kill
    (tmp_path / "metrics.jsonl").write_text(text)
    page = written(tmp_path)
    (line,) = page.all("polyline")
    points = [tuple(map(float, point.split(","))) for point in line["points"].split()]
    assert points == [(0, 0), (report.CHART[0] / 2, report.CHART[1] / 2), (report.CHART[0], report.CHART[1])]


def test_without_a_training_log_there_is_no_training_section(tmp_path):
    assert "training" not in {attributes.get("id") for attributes in written(tmp_path).all("section")}


def test_a_flat_curve_is_a_line_not_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "loss": 2.0}\n')
    (line,) = written(tmp_path).all("polyline")
    assert line["points"] == f"0.0,{report.CHART[1] / 2:.1f} {report.CHART[0]:.1f},{report.CHART[1] / 2:.1f}"


def test_a_picture_of_no_known_format_is_refused_by_its_name(tmp_path):
    with pytest.raises(SareeError, match="picture 'motif'"):
        written(tmp_path, pictures={"motif": ("Search", "Six hits", b"<svg/>")})
