"""The house itself: floors, front door, and what the package promises before anything heavy is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    "errors files config images latents distributions metrics where kin",
    "data views retouch regions loom networks codes posteriors priors objective optimizer index baselines sheets "
    "strangers verification",
    "vae palette",
    "checkpoint likelihood",
    "encoding catalogue",
    "interpolate variants judge explore",
    "anomaly",
    "train evaluate model_card report indexing classify detection",
    "query",
]
KG_FLOORS = ["schema", "graph", "queries node_features export", "head", "fit explain measure"]
GROUND = {"saree_vae.errors", "saree_vae.files"}  # that even the ground floor stands on


def floors(package: str, levels: list[str]) -> dict[str, int]:
    return {f"{package}.{name}": level for level, names in enumerate(levels) for name in names.split()}


FLOOR = floors("saree_vae", FLOORS) | floors("kg", KG_FLOORS)
FILES = [path for package in ("saree_vae", "kg") for path in sorted((ROOT / package).glob("*.py"))]


def imported(path: Path) -> set[str]:
    """Modules of this project that a file imports, wherever in it, as "saree_vae.images"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = ".".join(filter(None, (path.parent.name if node.level else "", node.module)))
            found |= {f"{home}.{alias.name}" for alias in node.names} if "." not in home else {home}
    return {name for name in found if name.split(".")[0] in ("saree_vae", "kg", "apps")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_a_file_imports_only_from_floors_below_its_own(path):
    if path.stem == "__init__":
        return
    own = f"{path.parent.name}.{path.stem}"
    assert own in FLOOR, f"{own} has no floor"
    shared = GROUND | {name for name in FLOOR if name.startswith("saree_vae.") and FLOOR[name] == 0}
    others = {name for name in imported(path) - shared if not name.startswith(f"{path.parent.name}.")}
    assert not others, f"{own} imports {others}"
    above = {name for name in imported(path) - GROUND if FLOOR[name] >= FLOOR[own]}
    assert not above, f"{own} imports {above}"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_a_bare_import_and_the_help_load_nothing_heavy():
    heavy = "{'torch', 'faiss', 'cv2', 'numpy', 'albumentations', 'sklearn', 'skia', 'streamlit', 'networkx'}"
    code = f"import sys, saree_vae, apps.cli; print({heavy} & set(sys.modules))"
    assert run(code).strip() == "set()"


def test_the_front_door_opens_each_of_its_names():
    code = "import saree_vae as s, saree_vae.encoding; print([n for n in s.__all__ if not callable(getattr(s, n))])"
    assert run(code).strip() == "['__version__']"


def test_without_faiss_one_sentence_names_the_extra():
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "from saree_vae.errors import SareeError\n"
        "from saree_vae import LatentIndex\n"
        "try: LatentIndex(2, 2)\n"
        "except SareeError as error: print(error)"
    )
    told = run(code)
    assert "saree-vae[cpu]" in told
    assert len(told.strip().splitlines()) == 1
