"""What git and DVC say of the present run."""

import os
import subprocess
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
    assert code.diff == b""


def test_code_with_a_changed_file(workspace: Path) -> None:
    params = workspace / "params.yaml"
    params.write_text(params.read_text() + "# a remark\n")
    code = read_code(workspace)
    assert code.dirty
    assert b"+# a remark" in code.diff


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
    assert code.diff == b""


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
        ("new.py", "dvc repro  # with new.py, which no commit has"),
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


# Settings and variables that change what git prints, or run a program.
SETTINGS = {
    "color.ui": "always",
    "core.autocrlf": "true",
    "core.quotePath": "false",
    "core.safecrlf": "true",
    "diff.algorithm": "patience",
    "diff.colorMoved": "zebra",
    "diff.context": "0",
    "diff.external": "false",
    "diff.ignoreSubmodules": "all",
    "diff.mnemonicPrefix": "true",
    "diff.noprefix": "true",
    "diff.orderFile": "nowhere",
    "diff.relative": "true",
    "diff.renames": "copies",
    "diff.shout.command": "false",
    "diff.shout.textconv": "false",
    "diff.submodule": "log",
    "diff.suppressBlankEmpty": "true",
    "diff.wordRegex": ".",
    "status.branch": "true",
    "status.short": "true",
    "status.showUntrackedFiles": "no",
}
VARIABLES = {
    "GIT_DIFF_OPTS": "--unified=0",
    "GIT_DIR": "/nowhere",
    "GIT_EXTERNAL_DIFF": "false",
    "GIT_INDEX_FILE": "/nowhere/index",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_TRACE": "1",
    "GIT_WORK_TREE": "/",
}


def _change_every_kind_of_file(folder: Path) -> None:
    """Commit files of all kinds, and change them without a commit."""
    tail = "".join(f"line {n}\n\n" for n in range(20))
    (folder / 'two\nlines\t\xe9 "quoted"').write_text(f"first\n{tail}")
    (folder / "dos.txt").write_bytes(b"one\r\ntwo\r\n")
    (folder / "latin").write_bytes(b"caf\xe9\n")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "script").write_text("true\n")
    (folder / "gone").write_text("gone\n")
    (folder / "old name").write_text(tail)
    (folder / "link").symlink_to("latin")
    (folder / "sub").mkdir()
    (folder / "sub" / "touched").write_text("same\n")
    (folder / ".gitattributes").write_text("* diff=shout\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=files")
    (folder / 'two\nlines\t\xe9 "quoted"').write_text(f"second\n{tail}no newline at the end ")
    (folder / "dos.txt").write_bytes(b"one\r\nthree\nfour\r")
    (folder / "latin").write_bytes(b"th\xe9\x0c\n")
    (folder / "binary").write_bytes(bytes(reversed(range(256))))
    (folder / "script").chmod(0o755)
    (folder / "gone").unlink()
    (folder / "old name").rename(folder / "new name")
    (folder / "link").unlink()
    (folder / "link").symlink_to("dos.txt")
    (folder / "sub" / "touched").touch()
    (folder / "added").write_text("added\n")
    git(folder, "add", "--", "added", "new name")


def _tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of every file but git's."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            str(path.readlink()).encode() if path.is_symlink() else path.read_bytes(),
        )
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.relative_to(folder).parts[0] != ".git"
    }


def test_patch_gives_the_same_tree_under_any_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, clone = tmp_path / "project", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "project")
    _change_every_kind_of_file(folder)
    index = (folder / ".git" / "index").read_bytes()
    code = read_code(folder)
    git(tmp_path, "clone", "--quiet", "project", "clone")
    subprocess.run(["git", "apply", "-"], cwd=clone, input=code.diff, check=True)
    assert _tree(clone) == _tree(folder)
    for name, value in SETTINGS.items():
        git(folder, "config", name, value)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert read_code(folder) == code
    assert (folder / ".git" / "index").read_bytes() == index


def test_code_with_a_touched_file_is_clean(workspace: Path) -> None:
    os.utime(workspace / "params.yaml", (1, 1))
    index = (workspace / ".git" / "index").read_bytes()
    code = read_code(workspace)
    assert (code.dirty, code.diff) == (False, b"")
    assert (workspace / ".git" / "index").read_bytes() == index


def test_code_of_a_submodule(tmp_path: Path) -> None:
    for name in ("inner", "outer"):
        git(tmp_path, "init", "--quiet", name)
        git(tmp_path / name, "commit", "--quiet", "--allow-empty", "--message=start")
    added = ("submodule", "--quiet", "add", str(tmp_path / "inner"), "inner")
    git(tmp_path / "outer", "-c", "protocol.file.allow=always", *added)
    git(tmp_path / "outer", "commit", "--quiet", "--message=inner")
    inner = tmp_path / "outer" / "inner"
    (inner / "new").touch()
    code = read_code(tmp_path / "outer")
    assert (code.dirty, code.diff) == (True, b"")
    git(inner, "commit", "--quiet", "--allow-empty", "--message=later")
    patch = read_code(tmp_path / "outer").diff
    assert f"+Subproject commit {git(inner, 'rev-parse', 'HEAD')}\n".encode() in patch


def test_code_in_a_folder_of_another_user(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    command = f"git config --global --add safe.directory {workspace}"
    with pytest.raises(RhobetaError, match="dubious ownership") as refused:
        read_code(workspace)
    assert command in str(refused.value)
