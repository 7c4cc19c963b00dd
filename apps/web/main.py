"""The script that Streamlit runs; started by `saree-vae app`."""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no request to anybody

import streamlit as st
from PIL import Image

from apps.web import between, craft, explore, record, search, variants
from apps.web.store import settings


def main() -> None:
    st.set_page_config("saree-vae", _icon(), layout="wide", initial_sidebar_state="collapsed")
    if not signed_in():
        return
    pages = [
        search.as_page(),
        st.Page(between.page, title="Interpolate", icon=":material/gradient:", url_path="interpolate"),
        st.Page(craft.page, title="Craft cluster", icon=":material/account_tree:", url_path="craft"),
        st.Page(variants.page, title="Variants", icon=":material/auto_awesome_mosaic:", url_path="variants"),
        st.Page(explore.page, title="Explore", icon=":material/scatter_plot:", url_path="explore"),
        st.Page(record.page, title="Run", icon=":material/monitoring:", url_path="run"),
    ]
    st.navigation(pages, position="top").run()
    st.divider()
    st.caption("saree-vae" + (" · the catalogue can be changed here" if settings().edit else ""))


def signed_in() -> bool:
    """Whether this visitor may come in: everybody, unless secrets.toml has an [auth], as Streamlit's st.login reads."""
    try:
        asked = "auth" in st.secrets
    except st.errors.StreamlitSecretNotFoundError:
        asked = False
    if not asked or st.user.get("is_logged_in", False):
        return True
    st.title("saree-vae", anchor=False)
    st.button("Sign in", on_click=st.login, icon=":material/login:")
    return False


@st.cache_resource(show_spinner=False)
def _icon() -> Image.Image:
    """A plain weave, for the browser's tab: named icons would be fetched from elsewhere."""
    warp, weft = (142, 43, 62), (217, 164, 65)
    icon = Image.new("RGB", (32, 32), warp)
    for row in range(4):
        for column in range(4):
            if (row + column) % 2:
                icon.paste(weft, (8 * column, 8 * row, 8 * column + 8, 8 * row + 8))
    return icon


main()
