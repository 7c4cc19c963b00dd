"""A map of where crafts are at home, drawn without a network: dots over outlines of land."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import plotly.graph_objects as go

from kg.graph import members

LAND = Path(__file__).with_name("land.json")  # see data_cards/land.md
MARGIN = 4.0  # degrees of land and sea around what is shown
BEYOND = 40.0  # degrees: outlines further away are never seen, however wide the screen
HEIGHT, TALL = 380, 520  # pixels: of a few countries, of everything
# Each is told from the paper and from the velvet alike, at 3 : 1 or more.
DOT, OTHERS, COAST, GROUND = "#c2475e", "#8a7d72", "#9a8b7d", "rgba(154,139,125,0.22)"
LABEL = 26  # pixels: the height of a name on the map
PAPER, INK = "#fbf8f3", "#2b2422"


@dataclass(frozen=True)
class Place:
    """Where a cluster is at home, in degrees; of an umbrella, where one of its members is."""

    cluster: str
    name: str
    latitude: float
    longitude: float
    countries: frozenset[str]


def places(graph: nx.MultiDiGraph) -> tuple[Place, ...]:
    """Of all clusters that have coordinates, by name."""
    found = [
        Place(node.removeprefix("cluster:"), data["name"], data["latitude"], data["longitude"], _countries(graph, node))
        for node, data in graph.nodes(data=True)
        if data["kind"] == "cluster" and "latitude" in data
    ]
    return tuple(sorted(found, key=lambda place: place.name))


def of(graph: nx.MultiDiGraph, clusters: Sequence[str]) -> list[Place]:
    """Places of some clusters, by id; an umbrella's are those of its members."""
    asked = {node for cluster in clusters for node in members(graph, f"cluster:{cluster}")}
    return [place for place in places(graph) if f"cluster:{place.cluster}" in asked]


def drawn(chosen: Sequence[Place], all_of_them: Sequence[Place]) -> go.Figure:
    """A map of the countries that the chosen are in, with all dots in them; of everything, where none is chosen."""
    countries = frozenset().union(*(place.countries for place in chosen))
    around = [place for place in all_of_them if not chosen or place.countries & countries]
    (west, east), (south, north) = _window([*chosen, *around])
    figure = go.Figure(_land(west, east, south, north))
    figure.add_trace(_dots([place for place in around if place not in chosen], OTHERS, 8))
    if chosen:
        figure.add_trace(_dots(chosen, DOT, 15))
        figure.update_layout(annotations=[*_names(chosen, (west + east) / 2, (east - west, north - south))])
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[west, east], **hidden)
    squeeze = 1 / math.cos(math.radians((south + north) / 2))  # a degree of latitude is longer than one of longitude
    figure.update_yaxes(range=[south, north], scaleanchor="x", scaleratio=squeeze, **hidden)
    bare = {"plot_bgcolor": "rgba(0,0,0,0)", "paper_bgcolor": "rgba(0,0,0,0)", "showlegend": False}
    figure.update_layout(
        height=HEIGHT, margin=dict.fromkeys("lrtb", 0), dragmode=False, clickmode="event+select", **bare
    )
    return figure


def alt(chosen: Sequence[Place]) -> str:
    """What a screen reader says of the map."""
    told = (f"{place.name} at {_degrees(place.latitude, 'NS')}, {_degrees(place.longitude, 'EW')}" for place in chosen)
    return f"Map: {'; '.join(told)}" if chosen else "Map of all clusters whose place is known"


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):.1f}° {letters[value < 0]}"


def _countries(graph: nx.MultiDiGraph, node: str) -> frozenset[str]:
    lies_in = (b for _, b, kind in graph.out_edges(node, keys=True) if kind == "located_in")
    return frozenset(graph.nodes[b]["name"] for b in lies_in if graph.nodes[b]["kind"] == "country")


def _window(shown: Sequence[Place]) -> tuple[tuple[float, float], tuple[float, float]]:
    lons, lats = ([getattr(place, name) for place in shown] for name in ("longitude", "latitude"))
    return (min(lons) - MARGIN, max(lons) + MARGIN), (min(lats) - MARGIN, max(lats) + MARGIN)


def _by_town(shown: Sequence[Place]) -> dict[tuple[float, float], list[Place]]:
    """Several clusters may share a town: one dot for each point of the map."""
    points: dict[tuple[float, float], list[Place]] = {}
    for place in shown:
        points.setdefault((place.longitude, place.latitude), []).append(place)
    return points


def _dots(shown: Sequence[Place], colour: str, size: int) -> go.Scatter:
    points = _by_town(shown)
    return go.Scatter(
        x=[longitude for longitude, _ in points],
        y=[latitude for _, latitude in points],
        mode="markers",
        marker={"size": size, "color": colour, "line": {"width": 1.5, "color": PAPER}},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        customdata=[[place.cluster for place in here] for here in points.values()],
        hovertext=["<br>".join(place.name for place in here) for here in points.values()],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _names(chosen: Sequence[Place], middle: float, spans: tuple[float, float]) -> Iterator[go.layout.Annotation]:
    """A label beside each dot, towards the middle of the map, on a ground of its own that reads on any other.

    Labels of near dots lie one below another, from the north to the south.
    """
    told: list[tuple[float, float]] = []
    for (longitude, latitude), here in sorted(_by_town(chosen).items(), key=lambda one: -one[0][1]):
        east = longitude > middle
        near = [at for at in told if abs(at[0] - longitude) < spans[0] / 3 and at[1] - latitude < spans[1] / 8]
        told.append((longitude, latitude))
        yield go.layout.Annotation(
            x=longitude,
            y=latitude,
            text=f"<b>{_few([place.name for place in here])}</b>",
            showarrow=False,
            xanchor="right" if east else "left",
            xshift=-14 if east else 14,
            yshift=-LABEL * len(near),
            bgcolor=PAPER,
            bordercolor=OTHERS,
            borderpad=3,
            font={"color": INK, "size": 13},
        )


def _few(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _land(west: float, east: float, south: float, north: float) -> go.Scatter:
    """Outlines of what may come into view, as one line with gaps."""
    line: list[np.ndarray] = []
    for ring in _rings():
        (left, bottom), (right, top) = ring.min(0), ring.max(0)
        if right > west - BEYOND and left < east + BEYOND and top > south - BEYOND and bottom < north + BEYOND:
            line += [ring, np.full((1, 2), np.nan, np.float32)]
    points = np.concatenate(line)
    return go.Scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="lines",
        line={"width": 1, "color": COAST},
        fill="toself",
        fillcolor=GROUND,
        hoverinfo="skip",
    )


@functools.cache
def _rings() -> tuple[np.ndarray, ...]:
    """Closed outlines (n, 2) of longitude and latitude in degrees; the file has tenths."""
    return tuple(np.array(ring, np.float32).reshape(-1, 2) / 10 for ring in json.loads(LAND.read_text()))
