"""The page Run: how a model was trained, what it draws, how good it is beside simpler things, and its cards."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from saree_vae import checkpoint, report
from saree_vae.errors import SareeError

from . import parts, store
from .parts import plain

RESULTS, SETTINGS, MODEL_CARD, DATA_CARD = "results.json", "config.yaml", "model_card.md", "data_card.md"
FIRST = 6  # curves before somebody asks for all
TELLING = ("Negative ELBO", "Contrast of motif", "Contrast of colour", "Phone photos", "Recoloured", "Palettes", "KL,")
LARGEST = 20 * 1024 * 1024  # bytes of a file that is shown
OURS, OTHERS = "this model", "best baseline"


def page() -> None:
    parts.title("Run", "How the model was trained, what it draws, and how good it is.")
    with parts.told():
        found = _folder()
        if found is None:
            st.info("There is no run to show. Open the app with one:", icon=":material/monitoring:")
            st.code("saree-vae app --catalogue CAT --run RUN", language="bash")
            return
        folder, whole = found
        if not whole:
            st.info(
                "This is the catalogue's model. For its training curves and pictures open the app with --run RUN.",
                icon=":material/monitoring:",
            )
        views = {"Figures": _figures, "Training": _training, "Pictures": _pictures, "Cards": _cards}
        look = st.segmented_control(
            "Look at", views, default="Figures", required=True, key="look at run", label_visibility="collapsed"
        )
        _view(views[look], folder)


@st.fragment
def _view(view: Callable[[Path], None], folder: Path) -> None:
    with parts.told():  # within: what goes wrong in a fragment does not leave it
        view(folder)


def _folder() -> tuple[Path, bool] | None:
    """The run that is shown, and whether it is one as training left it; else the catalogue's model."""
    settings = store.settings()
    if settings.run:
        return settings.run, True
    found = store.collection()
    return (found.run.path, False) if found else None


def _read(path: Path) -> bytes | None:
    """A file of the run; None where it is not there, or too large to be what it should be."""
    try:
        return path.read_bytes() if path.stat().st_size <= LARGEST else None
    except OSError:
        return None


def _text(path: Path) -> str | None:
    file = _read(path)
    return None if file is None else file.decode("utf-8", "replace")


# --- figures ---


def _figures(folder: Path) -> None:
    results = _results(folder)
    if results is None:
        st.info("This run has not been measured yet, or its figures are not beside it.", icon=":material/straighten:")
        st.code("saree-vae evaluate RUN --data D --json RUN/results.json", language="bash")
        if (folder / MODEL_CARD).is_file():
            st.markdown(":gray[Its model card, under Cards, tells those that were measured before.]")
        return
    data = results["data"]
    pictures = ", ".join(f"{count:,} {plain(split)}" for split, count in data["pictures"].items())
    told = f"Measured on the test pictures of {plain(data['name'])}, which training did not see ({pictures})."
    st.markdown(f":gray[{told}]")
    headlines = report.headlines(results["tasks"])
    if headlines:
        st.plotly_chart(_marks(headlines), key="headlines", config={"displayModeBar": False}, alt=_spoken(headlines))
        st.caption("Of a hundred questions, how many are answered right at the first hit; bars: 95 % intervals.")
    names = list(results["tasks"])
    task = st.selectbox("All figures", names, format_func=lambda name: report.TASKS.get(name, name), key="task")
    _table(report.table(task, results["tasks"][task]))


def _results(folder: Path) -> dict | None:
    """What `evaluate --json` or the quickstart wrote of this very model; None where there is no such file."""
    for path in (folder / RESULTS, folder.parent / RESULTS):
        text = _text(path)
        try:
            results = json.loads(text) if text else {}
            if results and results["run"]["fingerprint"] == _fingerprint(folder, _stamp(folder)):
                return results if results["tasks"] and results["data"]["pictures"] is not None else None
        except (ValueError, KeyError, TypeError):
            raise SareeError(f"{RESULTS} is no list of figures; measure the run again") from None
    return None


def _stamp(folder: Path) -> float:
    try:
        return (folder / "model.safetensors").stat().st_mtime
    except OSError:
        return 0.0


@st.cache_data(show_spinner=False, max_entries=8)
def _fingerprint(folder: Path, stamp: float) -> str:
    return checkpoint.load(folder, "cpu").fingerprint


def _marks(headlines: Sequence[dict]) -> go.Figure:
    """One line for each question: this model and the best baseline, with their intervals."""
    figure = go.Figure()
    styles = ((OURS, True, "circle", _madder(), "top"), (OTHERS, False, "diamond", "#c08a2d", "bottom"))
    for name, ours, symbol, colour, side in styles:
        rows = [(-i, mark) for i, line in enumerate(headlines) for mark in line["marks"] if mark["ours"] is ours]
        values = np.array([mark["figure"]["value"] for _, mark in rows], float)
        low, high = (np.array([mark["figure"][end] for _, mark in rows], float) for end in ("low", "high"))
        figure.add_scatter(
            x=values,
            y=[row for row, _ in rows],
            name=name,
            mode="markers+text",
            text=[
                f"{mark['figure']['value']:.0%}" + ("" if ours else f" {html.escape(mark['name'])}") for _, mark in rows
            ],
            textposition=[f"{side} {'left' if value > 0.7 else 'center'}" for value in values],
            textfont={"size": 13, "color": _ink()},
            marker={"symbol": symbol, "size": 12, "color": colour, "line": {"width": 1, "color": "#80786f"}},
            error_x={"array": high - values, "arrayminus": values - low, "thickness": 2, "width": 0, "color": colour},
            hovertemplate="%{text}<extra></extra>",
            cliponaxis=False,
        )
    for row, line in enumerate(headlines):
        told = {"text": line["question"], "showarrow": False, "xanchor": "left"}
        figure.add_annotation(x=0, y=0.42 - row, font={"size": 14, "color": _ink()}, **told)
    figure.update_xaxes(
        range=[-0.02, 1.08], fixedrange=True, tickfont_color=_ink(), tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1]
    )
    figure.update_yaxes(visible=False, range=[-len(headlines) + 0.4, 0.7], fixedrange=True)
    legend = {"orientation": "h", "y": 1.08, "x": 0}
    margin = {"l": 0, "r": 0, "t": 30, "b": 30}
    figure.update_layout(height=80 + 92 * len(headlines), legend=legend, margin=margin, dragmode=False)
    return figure


def _ink() -> str:
    """The colour of words in a chart, that reads well on the theme's ground."""
    return "#f0e8dd" if st.context.theme.type == "dark" else "#2b2422"


def _madder() -> str:
    return "#dc8094" if st.context.theme.type == "dark" else "#8e2b3e"


def _spoken(headlines: Sequence[dict]) -> str:
    said = []
    for line in headlines:
        marks = (f"{OURS if mark['ours'] else mark['name']} {mark['figure']['value']:.0%}" for mark in line["marks"])
        said.append(f"{line['question']} {', '.join(marks)}.")
    return " ".join(said)


def _table(task: dict) -> None:
    """Every figure of a task with its interval; ours by bold names, the best of each part by bold figures."""
    if task["skipped"]:
        st.markdown(plain(task["skipped"]))
        return
    gallery = f", among {task['gallery']:,}" if task["gallery"] is not None else ""
    st.markdown(f":gray[{plain(task['about'])} {task['queries']:,} queries{gallery}.]")
    for part, rows in task["parts"]:
        if part:
            st.markdown(f"**{plain(part.replace('_', ' '))}**")
        st.table([_row(row, task["columns"]) for row in rows], border="horizontal", hide_index=True)
    for note in task["notes"]:
        st.caption(plain(note))
    st.caption("In bold: this model, and the best figure. In brackets: 95 % intervals, where there were ten or more.")


def _row(row: dict, columns: Sequence[str]) -> dict[str, str]:
    name = f"**{plain(row['name'])}**" if row["ours"] else plain(row["name"])
    cells = {" ": name + (" (meant)" if row.get("meant") else "")}
    for column in columns:
        figure = row["figures"].get(column)
        cells[plain(column)] = _cell(figure) if figure else ""
    return cells


def _cell(figure: dict) -> str:
    value = plain(report.number(figure["value"], whole=bool(figure.get("count"))))
    value = f"**{value}**" if figure.get("best") else value
    if figure["low"] is None or figure["high"] is None:
        return value
    interval = f"[{report.number(figure['low'])}, {report.number(figure['high'])}]"
    return f"{value} {plain(interval)}"


# --- training ---


def _training(folder: Path) -> None:
    curves = report.curves(folder)
    if not curves:
        st.info(
            "No training curves: there is no metrics.jsonl with two epochs or more. Open the app with --run RUN.",
            icon=":material/show_chart:",
        )
        return
    epochs = max(points[-1][0] for _, points in curves)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f":gray[{epochs:,.0f} epochs]", width="content")
        everything = st.toggle("All that was written down", key="all curves")
    if not everything:
        telling = [curve for word in TELLING for curve in curves if curve[0].startswith(word)]
        curves = (telling or curves)[:FIRST]
    with st.grid(min_column_width=300, gap="medium"):
        for number, (title, points) in enumerate(curves):
            with st.container(gap="xxsmall"):
                st.markdown(f"{plain(title)} · **{plain(report.number(points[-1][1]))}**")
                said = f"{title}: {report.number(points[0][1])} at first, {report.number(points[-1][1])} at last"
                settings = {"displayModeBar": False}
                st.plotly_chart(_curve(title, points), key=f"curve {number} {title}", config=settings, alt=said)


def _curve(title: str, points: Sequence[tuple[float, float]]) -> go.Figure:
    epochs, values = zip(*points, strict=True)
    colours = st.get_option("theme.chartCategoricalColors") or ["#8e2b3e", "#1f6f78"]
    mode = "lines+markers" if len(points) < 20 else "lines"
    hover = "epoch %{x}: %{y:.4g}<extra></extra>"
    figure = go.Figure(go.Scatter(x=epochs, y=values, mode=mode, line_color=colours[1], hovertemplate=hover))
    figure.update_layout(height=180, margin={"l": 0, "r": 8, "t": 4, "b": 0}, dragmode=False, showlegend=False)
    shares = [0, 1.02] if "found first" in title else None  # a change of one in a hundred must not look like a fall
    figure.update_xaxes(nticks=5, fixedrange=True, tickfont_color=_ink())
    figure.update_yaxes(nticks=4, fixedrange=True, tickfont_color=_ink(), range=shares)
    return figure


# --- pictures ---


def _pictures(folder: Path) -> None:
    grids = sorted((folder / "pictures").glob("*.png"), reverse=True)
    failures = _read(folder / "failures.png")
    if not grids and failures is None:
        told = "No pictures: they are drawn while a run is trained. Open the app with --run RUN."
        st.info(told, icon=":material/image:")
    if grids:
        st.subheader("What it draws", anchor=False)
        names = {path: re.sub(r"_0*", " ", path.stem) for path in grids}
        newest = {"value": grids[0], "format_func": names.get, "key": "grid"}
        chosen = st.select_slider("After", grids[::-1], **newest) if len(grids) > 1 else grids[0]
        file = _read(chosen)
        if file:
            alt = f"A grid of pictures and what the model draws of them, {names[chosen]}"
            parts.image(file, alt=alt, width="stretch")
        st.caption(
            "From top to bottom: pictures; what the model draws of them; and, where it tells colours apart, other "
            "pictures, and the first in the colours of these."
        )
    if failures:
        st.subheader("Its surest mistakes", anchor=False)
        parts.image(failures, alt="Pairs of a query, framed, and its wrong first hit", width="stretch")
        st.caption("Framed: what was looked for. Beside it: the first hit, which is of another cluster.")


# --- cards ---


def _cards(folder: Path) -> None:
    card = _text(folder / MODEL_CARD)
    if card is None:
        st.info("There is no model card. Measuring the run writes one:", icon=":material/description:")
        st.code("saree-vae evaluate RUN --data D", language="bash")
    else:
        with st.expander("Model card", expanded=True, icon=":material/description:"):
            st.markdown(harmless(card))
    places = (folder, folder.parent, folder.parent / "data")
    data_card = next((text for place in places if (text := _text(place / DATA_CARD))), None)
    if data_card:
        with st.expander("Data card", icon=":material/inventory_2:"):
            st.markdown(harmless(data_card))
    else:
        st.caption(f"No data card lies beside this run; one that is called {plain(DATA_CARD)} would be shown here.")
    settings = _text(folder / SETTINGS)
    if settings:
        with st.expander("Settings", icon=":material/tune:"):
            st.code(settings, language="yaml")


def harmless(card: str) -> str:
    """A card as Markdown that loads nothing: without pictures and links; headings a level down, or bold.

    HTML in it Streamlit shows as text.
    """
    card = re.sub(r"!\[[^\]\n]*\]\([^)\n]*\)", "", card)  # failures.png and the like are shown under Pictures
    card = re.sub(r"\](?=[(\[:])", r"]\\", card)  # neither a link, nor a picture, nor what defines one
    card = re.sub(r"(?m)^#{3,6} +(.+)$", r"**\1**", card)
    return re.sub(r"(?m)^(#{1,2}) ", r"#\1 ", card)
