"""What must stay true of the tree as a whole."""

import ast
from pathlib import Path

import pytest

from helpers import REPOSITORY

PACKAGE = REPOSITORY / "src" / "rhobeta"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each layer may import those before it, and itself.
LAYERS = (
    {"errors", "intervals"},
    {"files", "exclusive", "signals"},
    {"seal"},
    {"param_faults", "registry"},
    {"param_sections"},
    {"param_tune"},
    {"param_registry"},
    {"param_search"},
    {"params", "paths"},
    {"presets"},
    {"data"},
    {"model"},
    {"metrics"},
    {"training"},
    {"tracking"},
    {"plots"},
    {"stages"},
    {"tuning"},
    {"serving"},
    {"story"},
    {"comparison"},
    {"summary"},
    {"doctor"},
    {"cli"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
HEAVY = {"torch", "pytorch_lightning", "mlflow", "optuna", "sklearn", "matplotlib", "torchvision"}


def _imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way_and_modules_stay_short(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if here not in {"__init__", "__main__"}:
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] == "rhobeta" and len(parts) > 1:
                assert RANK[parts[1]] <= RANK[here], f"{path.name} imports {name}"
    assert len(path.read_text().splitlines()) <= 320


def test_the_command_imports_nothing_heavy_to_start() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        assert not HEAVY & {name.partition(".")[0] for name in _imports(path)}


def test_shipped_text_files_hold_no_machine_path() -> None:
    for path in (*MODULES, *REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")):
        assert str(REPOSITORY) not in path.read_text(), path
