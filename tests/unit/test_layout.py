"""Laws of the source tree: which package imports which, and one name for one thing."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY
from rhobeta.training.code import TRAINING_CODE

PACKAGE = REPOSITORY / "src" / "rhobeta"
MODULES = {
    ".".join(("rhobeta", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
}

# A package imports from those above it. Packages of one line do not import each other.
LAYERS = (
    {"errors"},
    {"utils"},
    {"extensions", "paths"},
    {"config"},
    {"data"},
    {"model"},
    {"metrics"},
    {"training"},
    {"reporting", "tracking"},
    {"pipeline", "tuning"},
    {"lineage"},
    {"serving"},
    {"cli", "estimator"},
)
LOOSE = {"errors", "extensions", "paths"}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
SCIENCE = ("data", "model", "metrics", "training")
HEAVY = {"torch", "pytorch_lightning", "mlflow", "optuna", "sklearn", "matplotlib", "torchvision"}


def _imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, but for type checkers alone."""
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        nodes += ast.iter_child_nodes(node)
    return names


def _package(module: str) -> str:
    return module.split(".")[1]


def test_imports_run_one_way_between_packages() -> None:
    assert {_package(name) for name in MODULES} == set(RANK)
    for name, path in MODULES.items():
        here = _package(name)
        for other in _imports(path) & set(MODULES):
            there = _package(other)
            assert there == here or RANK[there] < RANK[here], f"{name} imports {other}"


def test_imports_form_no_circle_between_modules() -> None:
    graph = {name: _imports(path) & (set(MODULES) - {name}) for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", SCIENCE)
def test_science_imports_no_tool_of_the_pipeline(package: str) -> None:
    tools = {"dvc", "mlflow", "optuna"}
    for path in (PACKAGE / package).rglob("*.py"):
        found = {name.partition(".")[0] for name in _imports(path)} & tools
        assert not found, f"{path.name} imports {found}"


def test_loose_modules_are_at_most_three() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"} == LOOSE


def test_a_public_class_name_stands_once() -> None:
    places = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_a_module_name_stands_once_but_for_commands() -> None:
    places = defaultdict(list)
    for name in MODULES:
        places[name.rpartition(".")[2]].append(name)
    twice = [
        found
        for found in places.values()
        if sum(not name.startswith("rhobeta.cli.") for name in found) > 1
    ]
    assert twice == []


def test_dvc_yaml_and_provenance_name_the_same_training_code() -> None:
    stages = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    code = [d.removeprefix("src/rhobeta/") for d in stages["train"]["deps"] if "src/" in d]
    assert code == list(TRAINING_CODE)


def test_the_command_imports_nothing_heavy_to_start() -> None:
    for path in (PACKAGE / "cli").glob("*.py"):
        names = {
            node.module or ""
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ImportFrom)
        }
        assert not HEAVY & {name.partition(".")[0] for name in names}


def test_shipped_text_files_hold_no_machine_path() -> None:
    for path in (*MODULES.values(), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")):
        assert str(REPOSITORY) not in path.read_text(), path
