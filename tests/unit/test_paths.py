"""Where the project's files are."""

from pathlib import Path

import pytest

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths, find_paths

PROPERTIES = [name for name, value in vars(Paths).items() if isinstance(value, property)]


@pytest.fixture
def project(tmp_path):
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    (folder / "dvc.yaml").write_text("")
    return folder


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
    (inner / "dvc.yaml").write_text("")
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
    assert str(caught.value).startswith(f"No dvc.yaml in {tmp_path.resolve()} or above it")
    assert "git clone" in str(caught.value)
