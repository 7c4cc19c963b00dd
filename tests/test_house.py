"""The house itself: floors, front door, and what the package promises before anything heavy is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    "errors files config images latents distributions metrics where",
    "data views regions loom networks objective index baselines sheets",
    "vae",
    "checkpoint",
    "encoding catalogue",
    "train evaluate report indexing",
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names.split()}


def imported(tree: ast.AST) -> set[str]:
    """Modules of saree_vae that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {alias.name for alias in node.names} if node.module is None else {node.module.split(".")[0]}
        elif isinstance(node, ast.ImportFrom) and node.module == "saree_vae":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("saree_vae."):
            found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "saree_vae").glob("*.py")), ids=lambda p: p.stem)
def test_a_file_imports_only_from_floors_below_its_own(path):
    if path.stem == "__init__":
        return
    assert path.stem in FLOOR, f"{path.stem} has no floor"
    tree = ast.parse(path.read_text())
    # `errors` and `files` are the ground that even the ground floor stands on.
    above = {n for n in imported(tree) - {"errors", "files"} if FLOOR[n] >= FLOOR[path.stem]}
    assert not above, f"{path.stem} imports {above}"
    assert not {"kg", "apps"} & {
        n.name.split(".")[0] for i in ast.walk(tree) if isinstance(i, ast.Import) for n in i.names
    }


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_a_bare_import_and_the_help_load_nothing_heavy():
    heavy = "{'torch', 'faiss', 'cv2', 'numpy', 'albumentations', 'sklearn', 'skia', 'streamlit'}"
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
