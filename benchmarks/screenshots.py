"""Pictures of the front end for the README, on made-up sarees.

    saree-vae quickstart
    PYTHONPATH=. python benchmarks/screenshots.py --quickstart saree-quickstart

Opens the app in Chromium, as a visitor would, and keeps what is seen in benchmarks/results/app_*.png.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import front
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from saree_vae.catalogue import Catalogue

OUT = Path(__file__).parent / "results"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
COLOURS = 200  # of a picture that is kept: a third of the bytes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quickstart", type=Path, required=True, help="the folder that `saree-vae quickstart` wrote")
    options = parser.parse_args(arguments)
    with Catalogue.open(options.quickstart / "catalogue") as catalogue:
        keys = catalogue.matching("split == 'test'") or list(catalogue.keys())
    run = options.quickstart / "run"
    with front.opened(options.quickstart / "catalogue", run=run) as (port, _), sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, path, size, steps in scenes(keys):
            context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)))
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/{path}")
            page.locator("h1").wait_for()
            steps(page)
            page.wait_for_load_state("networkidle")
            page.wait_for_function("document.querySelectorAll('[data-testid=stSkeleton]').length == 0")
            page.wait_for_timeout(3000)  # a map is drawn softly
            kept(page, OUT / f"app_{name}.png")
            context.close()
        browser.close()


def scenes(keys: Sequence[str]) -> list[tuple[str, str, tuple[int, int], Callable[[Page], object]]]:
    """Names, addresses, sizes of the window, and what is done there."""
    like, desk, phone = f"?like={quote(keys[0])}&slant=0&differ=1&start=Collection", (1280, 900), (390, 844)
    return [
        ("search", like, desk, lambda page: page.get_by_text("in other colours").first.wait_for()),
        (
            "search_phone",
            like,
            phone,
            lambda page: page.get_by_text("More like this").nth(1).scroll_into_view_if_needed(),
        ),
        ("craft", "craft?cluster=paithani", desk, lambda page: page.get_by_text("Paithan").first.wait_for()),
        ("explore", "explore", desk, lambda page: page.locator(".js-plotly-plot").first.wait_for()),
    ]


def kept(page: Page, path: Path) -> None:
    """A picture of what is in the window, of few colours."""
    page.screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
