"""What git and DVC say of the present run."""

from pathlib import Path

import pytest

from helpers import QUICK, git, write_params
from rhobeta.errors import RhobetaError
from rhobeta.tracking.provenance import experiment_tags, read_code


def test_code_of_a_clean_tree(workspace: Path) -> None:
    code = read_code(workspace)
    assert code.commit == git(workspace, "rev-parse", "HEAD")
    assert code.branch == "main"
    assert not code.dirty
    assert code.diff == ""


def test_code_with_a_changed_file(workspace: Path) -> None:
    params = workspace / "params.yaml"
    params.write_text(params.read_text() + "# a remark\n")
    code = read_code(workspace)
    assert code.dirty
    assert "+# a remark" in code.diff


def test_code_with_a_new_file(workspace: Path) -> None:
    (workspace / "extra.py").write_text("print()\n")
    assert read_code(workspace).dirty


def test_code_ignores_tracked_outputs(workspace: Path) -> None:
    (workspace / ".gitignore").write_text("data/\nmodels/\nmlruns/\n")
    (workspace / "reports").mkdir()
    (workspace / "reports" / "metrics.json").write_text("{}")
    (workspace / "dvc.lock").write_text("schema: '2.0'\n")
    git(workspace, "add", ".")
    git(workspace, "commit", "--quiet", "--message=outputs")
    (workspace / "reports" / "metrics.json").write_text('{"mse": 1}')
    (workspace / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    code = read_code(workspace)
    assert not code.dirty
    assert code.diff == ""


def test_code_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(RhobetaError, match="git commit"):
        read_code(tmp_path)


def test_experiment_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiment_tags() == {}
    monkeypatch.setenv("DVC_EXP_NAME", "softer")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)
    assert experiment_tags() == {"dvc.exp_name": "softer", "dvc.baseline_rev": "0" * 40}


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ("", "dvc repro"),
        ("params.yaml", "dvc exp run -S 'model.hidden_sizes=[8,4]' -S penalty.rho=0.5"),
        ("dvc.yaml", "git apply uncommitted.diff && dvc repro"),
        ("new.py", "dvc repro  # with the untracked new.py"),
    ],
)
def test_command_repeats_the_state(workspace: Path, change: str, command: str) -> None:
    if change == "params.yaml":
        # Neither the section tune nor a comment changes what a stage does.
        altered = {"penalty.rho": 0.5, "model.hidden_sizes": [8, 4], "tune.trials": 7}
        write_params(workspace, {**QUICK, **altered})
    elif change:
        with (workspace / change).open("a") as file:
            file.write("# a remark\n")
    commit = git(workspace, "rev-parse", "HEAD")
    assert read_code(workspace).command == f"git checkout {commit[:12]} && {command}"
