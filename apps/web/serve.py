"""The command `app`: the front end, in a browser on this machine."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from saree_vae.errors import SareeError

PORT = 8501
VARIABLE = "SAREE_VAE_APP"  # through which the pages are told what to open
QUICKSTART = Path("saree-quickstart")


def app(
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue", "-c", metavar="CAT", help="What to search; the quickstart's of this folder, if not said."
        ),
    ] = None,
    head: Annotated[
        Path | None, typer.Option(metavar="HEAD", help="Names craft clusters; the quickstart's, if it is there.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Whose training to show; the quickstart's, if it is there.")
    ] = None,
    port: Annotated[int, typer.Option(help="Of this machine, 127.0.0.1.", min=1, max=65535)] = PORT,
    edit: Annotated[
        bool,
        typer.Option("--edit", help="Let visitors add pictures to the catalogue, correct labels, take pieces out."),
    ] = False,
) -> None:
    """Open the front end: search, interpolate, name the craft, make variants, explore; in a browser.

    It listens to this machine alone. How to let others in, after they have signed in, tells the README.

    \b
    saree-vae quickstart && saree-vae app        made-up sarees, to look around
    saree-vae app --catalogue CAT --head HEAD    your own
    """
    import subprocess

    if importlib.util.find_spec("streamlit") is None:
        raise SareeError("the front end needs Streamlit: pip install 'saree-vae[app]'")
    if catalogue is None and not (QUICKSTART / "catalogue").exists() and _terminal():
        _offer()
    found = settings(catalogue, head, run, edit)
    typer.echo(f"http://127.0.0.1:{port} (Ctrl+C stops it)", err=True)
    try:
        raise typer.Exit(subprocess.call(command(port), env=os.environ | {VARIABLE: found}))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _terminal() -> bool:
    return sys.stdin.isatty()


def _offer() -> None:
    """Nothing to show yet: make a catalogue of drawn sarees, if that is wanted."""
    if typer.confirm(f"There is no {QUICKSTART / 'catalogue'}. Make one of drawn sarees now, in about ten minutes?"):
        from apps import quickstart
        from apps.showing import console

        quickstart.run(None, QUICKSTART, console())


def command(port: int) -> list[str]:
    """What runs the pages; they find their settings in VARIABLE."""
    script = Path(__file__).with_name("main.py")
    return [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]


def settings(catalogue: Path | None, head: Path | None, run: Path | None, edit: bool) -> str:
    """What the pages are told, as JSON.

    Raises:
        SareeError: what was named is not there.
    """
    import json

    given = {"catalogue": catalogue, "head": head, "run": run}
    marks = {"catalogue": "catalogue.json", "head": "head.yaml", "run": "config.yaml"}
    for name, folder in given.items():
        if folder is None and not (catalogue and name != "catalogue"):
            own = QUICKSTART / name
            given[name] = own if (own / marks[name]).is_file() else None
        elif folder is not None and not (folder / marks[name]).is_file():
            raise SareeError(f"{folder}: no {name} (it has no {marks[name]})")
    return json.dumps({name: str(folder.absolute()) for name, folder in given.items() if folder} | {"edit": edit})
