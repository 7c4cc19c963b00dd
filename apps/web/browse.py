"""Leafing through the graph of crafts: what is known of a cluster, what is like it, and who else uses its terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, urlsplit

import streamlit as st

from apps.knowledge import attribute_lists, names, seen_line, step_line
from apps.showing import words
from kg import queries
from kg.graph import members, resolve
from kg.queries import Comparison, Difference, Neighbour, Path, Shown, User, Using
from kg.schema import TERM_KINDS
from saree_vae.errors import SareeError

from . import atlas, parts, store
from .parts import Card, plain
from .store import Collection

NAMING, BROWSING = "Name a piece", "Browse the graph"
ALIKE = 8  # similar clusters that are told of


def linked() -> None:
    """Open the cluster that the page's address names, by any of its names, once for each address."""
    asked = st.query_params.get("cluster")
    if not asked or asked == st.session_state.get("craft linked"):
        return
    st.session_state.update({"craft linked": asked, "craft part": BROWSING})
    with parts.told():
        open_cluster(resolve(store.graph(), asked).removeprefix("cluster:"))


def open_cluster(cluster: str) -> None:
    """What the page shows from its next run on."""
    st.session_state.update({"craft part": BROWSING, "craft cluster": cluster, "craft opened": cluster})


def named(cluster: str) -> str:
    """What people call a cluster."""
    return store.graph().nodes[f"cluster:{cluster}"]["name"]


def opener(cluster: str, key: str, words: str = "") -> bool:
    """A button with a cluster's name that opens its page."""
    asked = {"on_click": open_cluster, "args": (cluster,), "type": "tertiary", "icon": ":material/menu_book:"}
    return st.button(plain(words or named(cluster)), key=f"open {key} {cluster}", **asked)


@st.fragment
def browse() -> None:
    """The second part of the page: a cluster that is chosen, or the map of all."""
    state, listed = st.session_state, _listed()
    if state.get("craft cluster") not in listed:
        state["craft cluster"] = state.get("craft opened")
    chosen = st.selectbox(
        "Craft cluster",
        list(listed),
        index=None,
        format_func=listed.get,
        key="craft cluster",
        placeholder="Type a name, a town's cloth or another spelling",
    )
    state["craft opened"] = chosen
    if chosen is None:
        st.query_params.pop("cluster", None)
        st.info("Choose a cluster by name, or a dot on the map.", icon=":material/touch_app:")
        left, right = st.columns([3, 2], gap="large")
        with left:
            place_map(())
        with right:
            _who_uses()
        return
    state["craft linked"] = st.query_params["cluster"] = chosen
    with parts.told():
        _cluster(_shown(chosen))


def _cluster(shown: Shown) -> None:
    st.header(plain(shown.name), anchor=False)
    st.markdown(f":gray[{plain(where(shown))}]")
    known, alike, owned = st.tabs(["What is known", "Similar and confused", "In this catalogue"])
    with known:
        facts, place = st.columns([3, 2], gap="large")
        with facts:
            _facts(shown)
            _terms(shown)
        with place:
            place_map([shown.id])
            _seen(shown)
            _origin(shown)
        _who_uses()
    with alike:
        _alike(shown)
    with owned:
        _owned(shown)


# --- what is known ---


def where(shown: Shown) -> str:
    """Its kind and its places, in a line."""
    kind = {"umbrella": "several clusters whose centre is not known"}.get(shown.kind, shown.kind)
    places = [place for level in ("place", "state", "country") for place in shown.places.get(level, ())]
    return " · ".join(filter(None, (kind, ", ".join(places))))


def _facts(shown: Shown) -> None:
    about = shown.about
    lines = {
        "Also called": "; ".join(shown.alt_names),
        "Photographs are labelled": ", ".join(words(label) for label in shown.labels),
        "Since": about.get("origin_period", ""),
        "Geographical indication": _registered(about),
        "Grouped": " < ".join(dict.fromkeys(shown.groups.values())),
        "Note": about.get("note", ""),
    }
    st.markdown("  \n".join(f":gray[{name}:] {plain(value)}" for name, value in lines.items() if value))
    related = [*shown.members, *_umbrellas(shown.id)]
    if related:
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.markdown(":gray[Stands for:]" if shown.members else ":gray[Counted with:]", width="content")
            for cluster in related:
                opener(cluster, "related")


def _registered(about: dict) -> str:
    """The geographical indication in words; what is unknown is no claim."""
    if about.get("gi_registered") != "yes":
        return {"no": "not registered"}.get(about.get("gi_registered", ""), "not known whether it is registered")
    number = f"application {about['gi_application_no']}" if "gi_application_no" in about else ""
    return ", ".join(filter(None, ("registered", about.get("gi_year", ""), number)))


def _umbrellas(cluster: str) -> list[str]:
    edges = store.graph().in_edges(f"cluster:{cluster}", keys=True)
    return [a.removeprefix("cluster:") for a, _, kind in edges if kind == "unites"]


def _terms(shown: Shown) -> None:
    """Terms by kind, each a button that asks who else has it."""
    st.subheader("How it is made, and with what", anchor=False)
    if not shown.evidence:
        st.markdown("No term is known of it.")
    sure = sorted({one.confidence for one in shown.evidence})
    for kind in TERM_KINDS:
        found = {one.node: one for one in shown.evidence if one.node.startswith(f"{kind}:")}
        if found:
            key = f"terms {shown.id} {kind}"
            st.pills(
                words(next(iter(found.values())).relation).capitalize(),
                list(found),
                format_func=lambda node, found=found: plain(f"{found[node].name} · {found[node].clusters}"),
                key=key,
                wrap=True,
                on_change=_ask_term,
                args=(key,),
            )
    if shown.evidence:
        st.caption(
            f"The number is how many clusters have it: the fewer, the more it tells. Confidence: {', '.join(sure)}. "
            "Choose one to see who else uses it."
        )
    if shown.not_known:
        st.markdown(f":gray[Not known, which is not a no:] {plain(', '.join(shown.not_known))}")


def _ask_term(key: str) -> None:
    if st.session_state[key]:
        st.session_state["craft term"] = st.session_state[key]
    st.session_state[key] = None


def _seen(shown: Shown) -> None:
    """What photographs show, yes before sometimes before no."""
    lists = attribute_lists(shown.attributes)
    if not lists:
        return
    st.subheader("What a photograph shows", anchor=False)
    order = sorted(lists, key=lambda title: ("but" in title, ("yes", "sometimes", "no").index(title.split(", ")[-1])))
    told = ((title.removeprefix("in a photograph, ").capitalize(), ", ".join(lists[title])) for title in order)
    st.markdown("  \n".join(f":gray[{plain(title)}:] {plain(some)}" for title, some in told))


def _origin(shown: Shown) -> None:
    """Where all this was read."""
    with st.expander(f"Sources ({len(shown.sources)}), confidence {plain(shown.confidence)}"):
        st.markdown(sources(shown.sources))
        general = shown.about.get("general_knowledge", ())
        if general:
            st.caption(plain(f"From general knowledge, read nowhere: {', '.join(general)}."))


def sources(found: Iterable[str]) -> str:
    """Sources as a list in Markdown; an address is a link that a person may follow."""
    return "\n".join(f"- {_source(one)}" for one in found)


def _source(source: str) -> str:
    if not re.fullmatch(r"https?://\S+", source):
        return plain(source)
    address = urlsplit(source)
    label = f"{address.netloc}{address.path}".removesuffix("/")
    label = label if len(label) <= 60 else f"{label[:59]}…"
    return f"[{plain(label)}]({quote(source, safe=':/?#@!$&*+,;=%~-._')})"


def _who_uses() -> None:
    """Any term, and the clusters that have it."""
    st.subheader("Who uses a term?", anchor=False)
    term = st.selectbox(
        "Term",
        _all_terms(),
        index=None,
        format_func=lambda node: f"{node.partition(':')[2]} ({node.partition(':')[0]})",
        key="craft term",
        placeholder="Such as ikat, peacock, temple border",
        label_visibility="collapsed",
    )
    if not term:
        return
    with parts.told():
        found = _using(term)
        narrower = f" Narrower: {', '.join(found.narrower)}." if found.narrower else ""
        st.markdown(plain(found.definition + narrower))
        st.caption(f"{len(found.clusters)} {'cluster' if len(found.clusters) == 1 else 'clusters'}")
        with st.grid(min_column_width=200, gap="xsmall", key="users"):
            for user in found.clusters:
                _user(user, found)


def _user(user: User, found: Using) -> None:
    with st.container(gap="xxsmall", key=f"user {user.id}"):
        opener(user.id, "user", user.name)
        own = [one.name for one in user.terms if one.name != found.name]
        if own:
            st.caption(plain(", ".join(own)))


# --- what is like it ---


def _alike(shown: Shown) -> None:
    near, other = st.columns(2, gap="large")
    with near:
        st.subheader("Share most with it", anchor=False)
        for one in _neighbours(shown.id):
            with st.container(gap="xxsmall", key=f"near {one.id}"):
                opener(one.id, "near", one.name)
                by = names(sorted(one.shared, key=lambda e: -e.rarity)[:5])
                st.progress(one.score, text=f":small[{plain(f'{one.score:.0%} by {by}')}]")
        st.caption("The number after a term is how many clusters have it; a rare one that is shared counts for more.")
    with other:
        st.subheader("Compare with", anchor=False)
        listed = {cluster: name for cluster, name in _listed().items() if cluster != shown.id}
        picked = st.selectbox(
            "Another cluster",
            list(listed),
            index=None,
            format_func=listed.get,
            key=f"compared {shown.id}",
            placeholder="Another cluster",
            label_visibility="collapsed",
        )
        with parts.told():
            if picked:
                _compared(shown, _comparison(shown.id, picked))
        st.subheader("Confused with", anchor=False)
        differences(shown.differences)
        if not shown.differences:
            st.markdown("Nothing is known that it would be confused with.")


def differences(found: Sequence[Difference]) -> None:
    """What tells two apart, for each pair."""
    for one in found:
        a, b = (_called(name) for name in (one.a, one.b))
        with st.expander(plain(f"{a} or {b}?"), expanded=len(found) == 1):
            st.markdown(f"**{plain(a)}:** {plain(one.features_a)}")
            st.markdown(f"**{plain(b)}:** {plain(one.features_b)}")
            st.caption(plain(f"{seen_line(one)[0].upper()}{seen_line(one)[1:]}; confidence {one.confidence}"))
            st.markdown(sources(one.sources))


def _called(name: str) -> str:
    """A cluster's name; or what something is called that has none here."""
    return named(name) if f"cluster:{name}" in store.graph() else words(name)


def _compared(shown: Shown, compared: Comparison) -> None:
    a, b = shown.name, named(compared.b)
    lines = {
        "Both": names(sorted(compared.shared, key=lambda e: -e.rarity)),
        f"Known of {a} only": names(compared.only_a),
        f"Known of {b} only": names(compared.only_b),
        f"Not known of {a}": ", ".join(compared.not_known_a),
        f"Not known of {b}": ", ".join(compared.not_known_b),
    }
    st.progress(compared.score, text=f"They share {compared.score:.0%} of their evidence")
    st.markdown("\n\n".join(f"**{plain(name)}:** {plain(value)}" for name, value in lines.items() if value))
    contrasts([(one.name, one.a, one.b) for one in compared.contrasts], a, b)
    differences(compared.differences)
    with parts.told():
        tied = _path(compared.a, compared.b)
        with st.expander("The chain that ties them best"):
            st.markdown("\n".join(f"1. {plain(step_line(store.graph(), step, tied.clusters))}" for step in tied.steps))
    opener(compared.b, "compared", f"Open {b}")


def contrasts(found: Sequence[tuple[str, str, str]], a: str, b: str) -> None:
    """What one shows in a photograph and the other does not, as a table."""
    if found:
        rows = [{"": plain(words(name)), plain(a): of_a, plain(b): of_b} for name, of_a, of_b in found]
        st.table(rows, border="horizontal", hide_index=True, alt=f"What photographs show of {a} and of {b}")


# --- its pieces ---


def _owned(shown: Shown) -> None:
    found = None
    with parts.told():
        found = store.collection()
    if found is None:
        st.info("Open a catalogue to see pieces here: saree-vae app --catalogue CAT", icon=":material/image:")
        return
    keys = pieces_of(found, shown.id)
    if not keys:
        st.info("No piece of this catalogue is labelled so.", icon=":material/image_search:")
        return
    st.caption(f"{len(keys):,} {'piece' if len(keys) == 1 else 'pieces'} labelled so")
    parts.leafed(found, f"owned {shown.id}", keys, _ask_head)


def _ask_head(card: Card) -> None:
    """What somebody can do with a piece of a cluster."""
    if store.settings().head and st.button("Name it", key=f"name {card.key}", type="tertiary"):
        st.session_state["craft asked"] = ("piece", card.key)
        st.session_state["craft next"] = NAMING
        st.rerun()


def pieces_of(found: Collection, cluster: str) -> list[str]:
    """Keys of the pieces labelled with a cluster or what it stands for, under any of its names."""
    ids = _ids(tuple(parts.clusters_of(found)))
    asked = {cluster, *(node.removeprefix("cluster:") for node in members(store.graph(), f"cluster:{cluster}"))}
    return [key for key, piece in found.pieces.items() if ids.get(piece.cluster) in asked]


@st.cache_data(show_spinner=False, max_entries=4)
def _ids(labels: Sequence[str]) -> dict[str, str]:
    """Clusters by label, as far as the graph knows them."""
    found = {}
    for label in labels:
        try:
            found[label] = resolve(store.graph(), label).removeprefix("cluster:")
        except SareeError:
            continue
    return found


# --- the map ---


def place_map(clusters: Sequence[str]) -> None:
    """Where clusters are at home; a dot tells who is there, and opens it."""
    everywhere = _places()
    chosen = [place for place in everywhere if place.cluster in set(_homes(tuple(clusters)))]
    if clusters and not chosen:
        st.caption("Its place is not known.")
        return
    event = st.plotly_chart(
        atlas.drawn(chosen, everywhere),
        key=f"map {' '.join(clusters)}",
        on_select="rerun",
        selection_mode="points",
        config={"displayModeBar": False, "scrollZoom": False, "doubleClick": False},
        alt=atlas.alt(chosen),
    )
    picked = [cluster for point in event.selection.points for cluster in point.get("customdata") or ()] if event else []
    with st.container(horizontal=True, gap="small"):
        for cluster in dict.fromkeys(picked):
            if opener(cluster, "map"):
                st.rerun()
    st.caption("Towns that stand for a craft, roughly. Coasts by Natural Earth; borders are left out.")


# --- what the graph answers, once for each question ---


@st.cache_data(show_spinner=False)
def _listed() -> dict[str, str]:
    """Clusters by id, as they can be searched for: with their other names."""
    found = {}
    for node, data in store.graph().nodes(data=True):
        if data["kind"] == "cluster":
            others = "; ".join(data.get("alt_names", ()))
            found[node.removeprefix("cluster:")] = f"{data['name']} ({others})" if others else data["name"]
    return dict(sorted(found.items(), key=lambda one: one[1].casefold()))


@st.cache_data(show_spinner=False)
def _all_terms() -> list[str]:
    kinds = {kind: place for place, kind in enumerate(TERM_KINDS)}
    found = [node for node, data in store.graph().nodes(data=True) if data["kind"] in kinds]
    return sorted(found, key=lambda node: (node.partition(":")[2].casefold(), kinds[node.partition(":")[0]]))


@st.cache_resource(show_spinner=False)
def _places() -> tuple[atlas.Place, ...]:
    return atlas.places(store.graph())


@st.cache_data(show_spinner=False, max_entries=500)
def _homes(clusters: Sequence[str]) -> list[str]:
    return [place.cluster for place in atlas.of(store.graph(), clusters)]


@st.cache_data(show_spinner=False, max_entries=200)
def _shown(cluster: str) -> Shown:
    return queries.show(store.graph(), cluster)


@st.cache_data(show_spinner=False, max_entries=200)
def _neighbours(cluster: str) -> tuple[Neighbour, ...]:
    return queries.neighbours(store.graph(), cluster, ALIKE)


@st.cache_data(show_spinner=False, max_entries=200)
def _comparison(a: str, b: str) -> Comparison:
    return queries.compare(store.graph(), a, b)


@st.cache_data(show_spinner=False, max_entries=200)
def _path(a: str, b: str) -> Path:
    return queries.path(store.graph(), a, b)


@st.cache_data(show_spinner=False, max_entries=500)
def _using(term: str) -> Using:
    return queries.using(store.graph(), term)
