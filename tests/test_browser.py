"""The front end in a real browser, on a phone and on a desk: searching, interpolating, asking why; nothing foreign.

Pictures of the pages are left in the folder that SAREE_VAE_SCREENSHOTS names.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.web import serve

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
if not Path(CHROMIUM).exists():
    pytest.skip("no Chromium (apt install chromium)", allow_module_level=True)

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZES = {"phone": (390, 844), "desk": (1920, 1080)}
OWN = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
PATIENCE = 40_000  # milliseconds


@pytest.fixture(scope="module")
def address(shop: Path) -> Iterator[str]:
    """The app on the shop, as the command starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = json.dumps({name: str(shop / name) for name in ("catalogue", "head", "run")})
    process = subprocess.Popen(serve.command(port), env=os.environ | {serve.VARIABLE: settings})
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health").close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def visited(browser, address: str, path: str, size: str, title: str, shade: str = "light"):
    """A page that must neither fail, nor complain, nor ask anybody else for anything."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=shade)
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    page.on("console", lambda said: said.type == "error" and not probed(said) and wrong.append(told(said)))
    page.on("request", lambda asked: asked.url.startswith(OWN) or wrong.append(f"foreign: {asked.url}"))
    page.goto(f"{address}/{path}")
    page.get_by_role("heading", name=title, level=1).wait_for()
    yield page
    settled(page)
    kept = os.environ.get("SAREE_VAE_SCREENSHOTS")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{kept}/{title.lower().replace(' ', '_')}_{size}_{shade}.png", full_page=True)
    assert page.locator("[data-testid=stException]").count() == 0
    missing = "els => els.filter(e => !e.alt).length"
    assert page.eval_on_selector_all("[data-testid=stImage] img", missing) == 0, "a picture without words"
    broken = "els => els.filter(e => e.complete && !e.naturalWidth).map(e => e.alt)"
    assert page.eval_on_selector_all("img", broken) == [], "pictures that did not come"
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{wide} pixels too wide"
    context.close()
    assert not wrong, wrong


def told(said) -> str:
    return f"console: {said.text} {said.location['url']}"


def probed(said) -> bool:
    """Streamlit looks for its server below a page's own address first, as it may be mounted there."""
    return "404" in said.text and "/_stcore/" in said.location["url"]


def settled(page) -> None:
    """Wait until the script has run through, and its pictures are there."""
    page.wait_for_timeout(300)  # a click takes a moment to begin a run
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_uploaded_found_and_the_search_refined(browser, address, shop, size):
    with visited(browser, address, "", size, "Search") as page:
        page.set_input_files("input[type=file]", shop / "data/dots/1_0.png")
        page.get_by_text("of 32 pieces").wait_for()
        page.get_by_text("This design, in other colours").click()
        page.wait_for_url("**differ=1**")
        settled(page)
        page.get_by_role("button", name="More like this").nth(2).click()
        page.wait_for_url("**like=**")
        link = page.url
    with visited(browser, address, link.partition(f"{address}/")[2], size, "Search", "dark") as page:
        page.get_by_text("of 32 pieces").wait_for()


def test_the_slider_moves_by_keys(browser, address):
    with visited(browser, address, "?like=dots%2F1_0.png", "desk", "Search") as page:
        page.get_by_text("of 32 pieces").wait_for()
        for slant in ("0.2", "0.15"):
            page.get_by_role("slider").press("ArrowLeft")
            page.wait_for_url(f"**slant={slant}&**")
            settled(page)


def test_found_pieces_are_exported(browser, address):
    with visited(browser, address, "?like=dots%2F1_0.png", "desk", "Search") as page:
        with page.expect_download() as table:
            page.get_by_text("Table (CSV)").click()
        assert Path(table.value.path()).read_text().startswith("rank,key,cluster")
        with page.expect_download() as archive:
            page.get_by_text("Pictures (ZIP)").click()
        assert Path(archive.value.path()).read_bytes()[:2] == b"PK"


@pytest.mark.parametrize("size", SIZES)
def test_two_pieces_are_interpolated_and_the_strip_downloaded(browser, address, size):
    path = "interpolate?piece=dots%2F1_0.png&piece=checks%2F2_7.png"
    with visited(browser, address, path, size, "Interpolate") as page:
        with page.expect_download() as strip:
            page.get_by_text("Strip (PNG)").click()
        assert Path(strip.value.path()).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        settled(page)
        page.get_by_text("Only the colours").click()
        settled(page)
        page.get_by_role("button", name="More like it").first.click()
        page.get_by_text("of 32 pieces").wait_for()


@pytest.mark.parametrize("size", SIZES)
def test_a_piece_is_named_with_reasons_and_its_craft_read_about(browser, address, shop, size):
    with visited(browser, address, "craft", size, "Craft cluster") as page:
        page.set_input_files("input[type=file]", shop / "data/dots/1_0.png")
        page.get_by_text("Labelled pieces that are most like it").wait_for()
        page.get_by_text("1 in 5").click()
        settled(page)
        page.get_by_role("button", name="Patola (unspecified)").first.click()
        page.get_by_role("tab", name="What is known").wait_for()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("path", "title"), [("variants", "Variants"), ("explore", "Explore"), ("run", "Run")])
def test_every_other_page_opens_whole(browser, address, path, title, size):
    with visited(browser, address, path, size, title):
        pass


def test_from_colours_the_search_goes_on_from_a_piece(browser, address):
    with visited(browser, address, "?start=Colours", "phone", "Search") as page:
        page.get_by_role("button", name="More like this").first.click()
        page.get_by_text("of 32 pieces").wait_for()


def test_a_part_is_drawn_and_the_address_keeps_it(browser, address):
    with visited(browser, address, "?like=dots%2F1_0.png", "desk", "Search") as page:
        page.get_by_text("of 32 pieces").wait_for()
        page.get_by_role("button", name="Only a part of it").click()
        canvas = page.locator(".nsewdrag").first
        canvas.wait_for()
        settled(page)
        drawn(page, canvas.bounding_box(), (0.1, 0.5), (0.9, 0.9))
        page.wait_for_url("**part=0.**")
        page.get_by_text("Only the part that you drew").wait_for()
        link = page.url
    with visited(browser, address, link.partition(f"{address}/")[2], "desk", "Search") as page:
        page.get_by_role("button", name="The whole picture").click()
        page.wait_for_function("!location.search.includes('part=')")


def drawn(page, canvas: dict, *corners: tuple[float, float]) -> None:
    """Draw a box with the mouse, between corners as shares of the canvas."""
    for corner in corners:
        x, y = (
            canvas[at] + share * canvas[size] for at, size, share in zip("xy", ("width", "height"), corner, strict=True)
        )
        page.mouse.move(x, y, steps=5)
        page.mouse.down()  # a second time: nothing
    page.mouse.up()


def test_points_of_the_map_are_drawn_round(browser, address):
    with visited(browser, address, "explore", "desk", "Explore") as page:
        drawn(page, page.locator(".nsewdrag").first.bounding_box(), (0.01, 0.01), (0.99, 0.99))
        page.get_by_text("32 pieces chosen").wait_for()


COPY = """async (colour) => {
  const canvas = document.createElement('canvas'), paint = canvas.getContext('2d');
  canvas.width = canvas.height = 96;
  paint.fillStyle = colour;
  paint.fillRect(0, 0, 96, 96);
  const file = await new Promise(then => canvas.toBlob(then, 'image/png'));
  await navigator.clipboard.write([new ClipboardItem({'image/png': file})]);
}"""


def test_a_picture_is_pasted_over_an_uploaded_one(browser, address, shop):
    with visited(browser, address, "", "desk", "Search") as page:
        page.set_input_files("input[type=file]", shop / "data/dots/1_0.png")
        page.wait_for_url("**q=**")
        settled(page)
        before = page.url
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.evaluate(COPY, "#8e2b3e")
        page.get_by_role("tab", name="Paste").click()
        page.get_by_role("textbox").click()
        page.keyboard.press("Control+V")
        page.get_by_text("image.png").wait_for()
        page.locator("button[aria-label='Send message']:enabled").wait_for()
        page.keyboard.press("Enter")
        page.get_by_alt_text("Your picture, image.png").wait_for()
        settled(page)
        assert page.url != before
