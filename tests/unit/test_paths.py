"""Where the project's files are."""

import os
from pathlib import Path

import pytest

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths, find_paths, find_workspace

PROPERTIES = [name for name, value in vars(Paths).items() if isinstance(value, property)]


@pytest.fixture
def project(tmp_path):
    folder = tmp_path.resolve() / "project"
    make(folder)
    return folder


def make(folder):
    folder.mkdir(exist_ok=True)
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_text("")


@pytest.mark.parametrize("below", [".", "src", "data/own/deep"])
def test_workspace_is_found_upwards_from_the_current_folder(project, monkeypatch, below):
    (project / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(project / below)
    assert find_paths() == Paths(workspace=project, store_root=project)


def test_workspace_is_found_from_a_given_folder(project, monkeypatch):
    (project / "sub").mkdir()
    monkeypatch.chdir(project.parent)
    assert find_paths(Path("project/sub")).workspace == project


def test_nearest_of_nested_projects_is_the_workspace(project):
    inner = project / "copy"
    (inner / "sub").mkdir(parents=True)
    make(inner)
    assert find_paths(inner / "sub").workspace == inner


def test_folder_named_dvc_yaml_is_no_project(project):
    (project / "sub" / "dvc.yaml").mkdir(parents=True)
    assert find_paths(project / "sub").workspace == project


def test_dvc_root_moves_only_the_store(project, tmp_path, monkeypatch):
    at_home = find_paths(project)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    away = find_paths(project)
    moved = [name for name in PROPERTIES if getattr(at_home, name) != getattr(away, name)]
    assert sorted(moved) == ["checkpoints", "store"]
    assert at_home.store == project / "mlruns"
    assert away.store == tmp_path / "elsewhere" / "mlruns"


def test_paths_are_distinct_and_inside_the_workspace(project):
    found = [getattr(find_paths(project), name) for name in PROPERTIES]
    assert len(set(found)) == len(found)
    assert all(path.is_relative_to(project) and path != project for path in found)


def test_folder_outside_a_project_is_refused(tmp_path):
    with pytest.raises(RhobetaError) as caught:
        find_paths(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path.resolve()} is not inside an rhobeta project")
    assert "git clone" in str(caught.value)


def test_pipeline_below_the_project_is_not_the_project(project):
    (project / "experiments" / ".dvc").mkdir(parents=True)
    (project / "experiments" / "dvc.yaml").write_text("")
    assert find_workspace(project / "experiments") == project
    # Also without params.yaml, whose absence is then reported for the right folder.
    (project / "params.yaml").unlink()
    (project / "src").mkdir()
    assert find_workspace(project / "experiments") == project


def test_nothing_above_the_home_folder_is_a_project(project, monkeypatch):
    (project / "home" / "below").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(project / "home"))
    with pytest.raises(RhobetaError, match=rf"up to {project}/home has"):
        find_workspace(project / "home" / "below")
    monkeypatch.setenv("HOME", str(project))
    assert find_workspace(project / "home" / "below") == project


def test_nothing_beyond_the_file_system_is_a_project(project, monkeypatch):
    (project / "mounted").mkdir()
    real = Path.stat

    def stat(path, **options):
        found = list(real(path, **options))
        found[2] += path.name == "mounted"
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(RhobetaError, match="mounted has dvc"):
        find_workspace(project / "mounted")


@pytest.mark.parametrize(
    "name", [".", "dvc.yaml", "src", "src/rhobeta", "extensions", "extensions/mine.py"]
)
def test_project_of_another_user_is_refused(project, monkeypatch, tmp_path, name):
    for folder in ("src/rhobeta", "extensions"):
        (project / folder).mkdir(parents=True)
    (project / "extensions" / "mine.py").touch()
    real = Path.lstat

    def lstat(path):
        found = list(real(path))
        found[4] = 12345 if path == project / name else os.geteuid()
        return os.stat_result(found)

    monkeypatch.setattr(Path, "lstat", lstat)
    configuration = tmp_path / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    configuration.write_text("[safe]\ndirectory = /elsewhere\n")
    with pytest.raises(RhobetaError, match=r"another user \(id 12345\)"):
        find_workspace(project)
    # What git trusts, for the reason that its user gave, is trusted here.
    configuration.write_text(f"[safe]\ndirectory = {project}\n")
    assert find_workspace(project) == project
    configuration.write_text(f"[safe]\ndirectory = {project}\ndirectory =\n")
    with pytest.raises(RhobetaError):
        find_workspace(project)


def test_link_to_what_another_user_owns_is_refused(project, monkeypatch, tmp_path):
    (project / "extensions").symlink_to(tmp_path)
    real = Path.stat

    def stat(path, *, follow_symlinks=True):
        found = list(real(path, follow_symlinks=follow_symlinks))
        theirs = follow_symlinks and path == project / "extensions"
        found[4] = 12345 if theirs else os.geteuid()
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(RhobetaError, match=r"extensions belongs to another user \(id 12345\)"):
        find_workspace(project)


def test_given_paths_are_relative_to_the_project_of_origin(project, tmp_path, monkeypatch):
    paths = Paths(workspace=project / ".dvc" / "tmp" / "exps" / "x", store_root=project)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.given("../files") == project / "../files"
    assert paths.given("/files") == Path("/files")
    assert paths.given("~/files") == Path("/home/me/files")
