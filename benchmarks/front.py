"""How quick the front end answers when several visitors search at once, and whether its memory stays as it is.

    PYTHONPATH=. python benchmarks/front.py --catalogue CAT --json benchmarks/results/front.json

Starts the app as `saree-vae app` does, and speaks to it over loopback as a browser does: each session opens a link to
a search, then moves the slider again and again. A search is timed from the visitor's move until the page is whole;
what a browser then takes to draw it is not in it. The first search, in which model and index are read, is told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import study
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from apps.web import serve
from saree_vae.catalogue import Catalogue
from saree_vae.errors import SareeError

PATIENCE = 120  # seconds for the app to open


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--catalogue", type=Path, required=True, help="what is searched, by its own pieces")
    parser.add_argument("--json", help="also write the figures here")
    parser.add_argument("--sessions", type=int, default=8, help="visitors at once")
    parser.add_argument("--searches", type=int, default=500, help="of all visitors together")
    options = parser.parse_args(arguments)
    with Catalogue.open(options.catalogue) as catalogue:
        keys = list(catalogue.keys())
    chosen = np.random.default_rng(0).choice(keys, options.sessions).tolist()
    with opened(options.catalogue) as (port, process):
        warm = asyncio.run(together(port, chosen[:1], 2))
        alone = asyncio.run(together(port, chosen[:1], 20))
        before = resident(process)
        many = asyncio.run(together(port, chosen, -(-options.searches // options.sessions)))
        after = resident(process)
    report = {"pieces": len(keys), "sessions": options.sessions, "cores": os.cpu_count()}
    report["rows"] = {"first search, nothing warm": told(warm[:1]), "one visitor": told(alone)}
    report["rows"][f"{options.sessions} visitors at once"] = told(many)
    report["memory"] = {"before": before, "after": after}
    study.tell(report, markdown, options.json)


@contextmanager
def opened(catalogue: Path, run: Path | None = None) -> Iterator[tuple[int, subprocess.Popen]]:
    """The app on a free port, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {serve.VARIABLE: serve.settings(catalogue, None, run, False)}
    process = subprocess.Popen(serve.command(port), env=environment, stdout=subprocess.DEVNULL)
    try:
        wait(port)
        yield port, process
    finally:
        process.terminate()
        process.wait()


def wait(port: int) -> None:
    """Until the app is healthy.

    Raises:
        SareeError: it is not after PATIENCE seconds.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health"):
                return
        except OSError:
            time.sleep(0.2)
    raise SareeError(f"the app did not open within {PATIENCE} seconds")


async def together(port: int, keys: Sequence[str], searches: int) -> list[float]:
    """Seconds of every search of one session for each key, all at once."""
    found = await asyncio.gather(*(visit(port, key, searches) for key in keys))
    return [seconds for of_one in found for seconds in of_one]


async def visit(port: int, key: str, searches: int) -> list[float]:
    """A session: a link, then moves of the slider; seconds of each."""
    origin = f"http://127.0.0.1:{port}"
    address = f"ws://127.0.0.1:{port}/_stcore/stream"
    asked, seconds, slider = BackMsg(), [], ""
    asked.rerun_script.query_string = f"like={quote(key)}"
    async with websockets.connect(address, origin=origin, subprotocols=["streamlit"], max_size=None) as line:
        for turn in range(searches):
            start = time.perf_counter()
            await line.send(asked.SerializeToString())
            slider = await whole(line) or slider
            seconds.append(time.perf_counter() - start)
            if not slider:
                raise SareeError("the page has no slider; the search failed")
            asked = BackMsg()
            state = asked.rerun_script.widget_states.widgets.add(id=slider)
            state.double_array_value.data.append(((turn * 7) % 21) / 20)
    return seconds


async def whole(line: websockets.ClientConnection) -> str:
    """Read until the page is whole; the slider's id, if it was sent.

    Raises:
        SareeError: an exception is on the page.
    """
    slider = ""
    async for text in line:
        message = ForwardMsg.FromString(text)
        element = message.delta.new_element
        if element.WhichOneof("type") == "exception":
            raise SareeError(f"the page failed: {element.exception.message}")
        if element.WhichOneof("type") == "slider":
            slider = element.slider.id
        if message.WhichOneof("type") == "script_finished":
            return slider
    raise SareeError("the app hung up")


def resident(process: subprocess.Popen) -> int:
    """Bytes of memory that a process holds."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def told(seconds: Sequence[float]) -> dict[str, float]:
    middle, late = np.quantile(seconds, (0.5, 0.95))
    return {"searches": len(seconds), "p50": float(middle), "p95": float(late), "most": float(max(seconds))}


def markdown(report: dict) -> str:
    """A table of seconds, and the memory before and after."""
    lines = [
        [name, f"{row['searches']}", *(f"{row[figure]:.2f}" for figure in ("p50", "p95", "most"))]
        for name, row in report["rows"].items()
    ]
    memory = " then ".join(f"{report['memory'][when] / 2**20:,.0f} MB" for when in ("before", "after"))
    about = f"{report['pieces']:,} pieces, {report['cores']} cores; memory of the app {memory}"
    return f"{about}\n\n" + study.table(["seconds of a search", "searches", "p50", "p95", "longest"], lines)


if __name__ == "__main__":
    study.run(main)
