"""`rhobeta doctor`: each fault is brought about for real."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers import REPOSITORY, NewStore, git, shipped_values, with_changes
from rhobeta.cli import main
from rhobeta.config.params import check_params
from rhobeta.config.presets import dvc_environment
from rhobeta.lineage import doctor
from rhobeta.lineage.doctor import Finding, examine
from rhobeta.lineage.project import Project
from rhobeta.paths import Paths
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import Store


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make a package look installed, as pip records it, before what really is."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))

    def record(name: str, version: str, *requires: str) -> None:
        folder = place / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {one}" for one in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return record


@pytest.fixture
def store(paths: Paths, new_store: NewStore) -> Store:
    opened: Store = new_store(paths, "tests")
    return opened


def store_findings(paths: Paths) -> list[Finding]:
    return doctor._store(Project(check_params(shipped_values(), where="it"), paths))


def test_packages_of_the_tests_fit_together(tmp_path: Path) -> None:
    assert doctor._packages(tmp_path).level == "ok"
    assert doctor._lightning().level == "ok"


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("numpy", "1.0", "needs numpy"),
        ("torch", "2.11.0", "torchvision needs torch"),
    ],
)
def test_a_package_of_another_version_is_a_fault(
    install, tmp_path: Path, name: str, version: str, found: str
) -> None:
    install(name, version)
    fault = doctor._packages(tmp_path)
    assert fault.level == "FAULT"
    assert found in fault.found
    assert f"found {name} {version}" in fault.found


def test_what_pyproject_asks_for_newly_is_missed(tmp_path: Path) -> None:
    text = (
        "[project]\ndependencies = [\"absent; python_version < '3'\"]\n"
        '[project.optional-dependencies]\npipeline = ["no-such-package>=1"]\n'
    )
    (tmp_path / "pyproject.toml").write_text(text)
    assert doctor._packages(tmp_path).found == (
        "the project needs no-such-package>=1, found nothing"
    )


@pytest.mark.parametrize(("version", "found"), [("2.6.3", "malware"), ("2.6.5", "do not mix")])
def test_lightning_beside_pytorch_lightning_is_a_fault(install, version: str, found: str) -> None:
    install("lightning", version)
    fault = doctor._lightning()
    assert (fault.level, found in fault.found) == ("FAULT", True)


def test_what_makes_other_bytes_is_noted(paths: Paths, install) -> None:
    def found(cpu: str) -> Finding:
        params = check_params(with_changes({"runtime.cpu": cpu}), where="it")
        return doctor._bytes(Project(params, paths))

    assert "runtime.cpu is native" in found("native").found
    (paths.workspace / "requirements.lock").write_text(
        "numpy==1.0 ; python_version >= '3' \\\n    --hash=x\n"
        "numpy==2.0 ; python_version < '3' \\\n    --hash=y\nscipy==1.0\n"
    )
    install("numpy", "1.0")
    assert "scipy" in found("portable").found
    assert "numpy" not in found("portable").found


def test_a_folder_without_git_is_a_fault(paths: Paths, tmp_path: Path) -> None:
    assert doctor._git(paths.workspace).level == "ok"
    fault = doctor._git(tmp_path)
    assert (fault.level, "git init" in fault.advice) == ("FAULT", True)


def test_a_repository_of_another_user_is_a_fault(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    fault = doctor._git(paths.workspace)
    assert (fault.level, "dubious ownership" in fault.found) == ("FAULT", True)
    assert f"git config --global --add safe.directory {paths.workspace}" in fault.advice
    assert main(["trace", "HEAD"]) == 1
    assert "dubious ownership" in capsys.readouterr().err


def test_a_user_without_a_name_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "me")
    assert doctor._user() == Finding("ok", "user", "me")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    fault = doctor._user()
    assert (fault.level, fault.advice) == ("FAULT", "export LOGNAME=user54321")
    # What the command starts works all the same.
    assert dvc_environment()["LOGNAME"] == "54321"


def test_files_with_other_line_endings_are_a_fault(paths: Paths) -> None:
    assert doctor._line_endings(paths.workspace).level == "ok"
    for name in ("params.yaml", "dvc.yaml"):
        file = paths.workspace / name
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    fault = doctor._line_endings(paths.workspace)
    assert (fault.level, "1 files" in fault.found, "dvc.yaml" in fault.found) == (
        "FAULT",
        True,
        True,
    )
    assert doctor._line_endings(Path("/")).level == "ok"


@pytest.mark.slow
def test_a_lock_file_is_current_or_not_or_broken(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1")
    stage = "stages:\n  copy:\n    cmd: cp in out\n    deps: [in]\n    outs: [out]\n"
    (tmp_path / "dvc.yaml").write_text(stage)
    git(tmp_path, "init", "--quiet")
    assert doctor._lock(tmp_path).found.endswith("is not a DVC repository")
    for command in (["init", "--quiet"], ["repro", "--quiet"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True)
    assert doctor._lock(tmp_path) == Finding("ok", "dvc.lock", "current")
    (tmp_path / "in").write_text("2")
    assert doctor._lock(tmp_path).found == "not current: copy would run"
    # As a `dvc` leaves it that is killed while it writes.
    (tmp_path / "dvc.lock").write_text("")
    broken = doctor._lock(tmp_path)
    assert (broken.level, "validation failed" in broken.found) == ("FAULT", True)
    assert "git checkout dvc.lock" in broken.advice


def test_a_site_cache_that_others_can_write_to_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_SITE_CACHE_DIR")
    (tmp_path / ".dvc").mkdir()
    config = tmp_path / ".dvc" / "config.local"
    # In the folder of DVC's own choice, which everyone can enter.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        private = Path(folder)
        config.write_text(f"[core]\n    site_cache_dir = {private}/dvc\n")
        assert doctor._site_cache(tmp_path).level == "ok"
        # DVC makes a missing one for everyone.
        private.chmod(0o755)
        assert doctor._site_cache(tmp_path).level == "FAULT"
        (private / "dvc" / "repo").mkdir(parents=True)
        assert doctor._site_cache(tmp_path).level == "ok"
        (private / "dvc" / "repo").chmod(0o777)
        fault = doctor._site_cache(tmp_path)
        assert (fault.level, f"{private}/dvc/repo" in fault.found) == ("FAULT", True)
        private.chmod(0o700)
        assert doctor._site_cache(tmp_path).level == "ok"
        # A private folder in one of everyone: they can put another in its place.
        private.chmod(0o777)
        (private / "dvc").chmod(0o700)
        assert doctor._site_cache(tmp_path).level == "FAULT"
        private.chmod(0o700)
        config.unlink()
        assert "/var/tmp/dvc/repo" in doctor._site_cache(tmp_path).found
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", folder)
        assert doctor._site_cache(tmp_path).level == "ok"


def test_a_store_with_finished_runs_is_sound(paths: Paths, store: Store) -> None:
    run = store.client.create_run(store.experiment_id)
    store.client.set_terminated(run.info.run_id)
    assert [finding.level for finding in store_findings(paths)] == ["ok", "ok"]


def test_a_moved_project_is_noted_with_packages_that_are_gone(paths: Paths, store: Store) -> None:
    with new_run(store, name="it", tags={}) as run:
        pass
    model = store.client.create_logged_model(store.experiment_id, "it", run.run_id)
    (paths.store / "artifacts" / "models" / model.model_id / "artifacts").mkdir(parents=True)
    place = paths.store_root.rename(paths.store_root.with_name("moved"))
    moved = Paths(place, place)
    project = Project(check_params(shipped_values(), where="it"), moved)
    noted = doctor._place(moved)
    assert (noted.level, f"{paths.store}/artifacts" in noted.found) == ("note", True)
    assert doctor._artifacts(project).found == "those of 1 packaged models are there"
    assert doctor._place(moved).level == "ok"
    shutil.rmtree(moved.store / "artifacts")
    fault = doctor._artifacts(project)
    assert (fault.level, str(moved.store / "artifacts") in fault.found) == ("FAULT", True)


def test_an_environment_that_was_moved_is_a_fault(tmp_path: Path) -> None:
    assert doctor._environment(tmp_path).level == "ok"
    script = tmp_path / ".venv" / "bin" / "dvc"
    script.parent.mkdir(parents=True)
    for folder, level in ((tmp_path, "ok"), (tmp_path / "old", "FAULT")):
        # As pip writes it for a path with a space.
        script.write_text(f'#!/bin/sh\n\'\'\'exec\' "{folder}/.venv/bin/python3" "$0" "$@"\n')
        assert doctor._environment(tmp_path).level == level


def test_make_makes_an_environment_that_was_moved_again(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "tools/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    for folder, made in ((tmp_path, False), (tmp_path / "old", True)):
        (tmp_path / ".venv" / ".ready").write_text(f"{folder / '.venv'}\n")
        command = ["make", "--dry-run", "setup"]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert ("setup.sh" in said.stdout) == made


def test_a_store_in_a_folder_is_a_fault(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{paths.workspace}")
    (fault,) = store_findings(paths)
    assert (fault.level, "mlflow migrate-filestore" in fault.advice) == ("FAULT", True)


def test_what_other_users_can_read_is_noted(paths: Paths) -> None:
    paths.store.mkdir(mode=0o755)
    (paths.store / "mlflow.db").touch(mode=0o600)
    (paths.store / "optuna.db").touch(mode=0o644)
    assert doctor._privacy(paths).found == f"other users can read optuna.db in {paths.store}"
    paths.store.chmod(0o700)
    assert doctor._privacy(paths).level == "ok"


def test_no_store_is_no_fault_and_none_is_made(paths: Paths) -> None:
    assert [finding.level for finding in store_findings(paths)] == ["ok"]
    assert not paths.store.exists()


def test_runs_that_are_running_are_noted(paths: Paths, store: Store) -> None:
    run = store.client.create_run(store.experiment_id, start_time=86_400_000).info.run_id
    store.client.create_run(store.experiment_id)
    _, found = store_findings(paths)
    assert found.level == "note"
    assert found.found == f"2 are RUNNING, the oldest {run} since 1970-01-02T00:00:00+00:00"
    assert "it resumes" in found.advice


def test_a_store_that_does_not_answer_is_a_fault(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret-word@127.0.0.1:9/mlflow")
    (fault,) = store_findings(paths)
    assert (fault.level, "cannot be used" in fault.found) == ("FAULT", True)
    assert "secret-word" not in str(fault)


def test_unfinished_trainings_are_noted(paths: Paths) -> None:
    assert doctor._unfinished(paths).level == "ok"
    (paths.checkpoints / "abc").mkdir(parents=True)
    (paths.checkpoints / "abc" / "state").write_bytes(bytes(2_000_000))
    found = doctor._unfinished(paths)
    assert (found.level, found.found[:12]) == ("note", "1 trainings ")
    assert "2.0 MB, the oldest 0 days old" in found.found


def test_the_command_prints_findings_and_changes_nothing(
    paths: Paths,
    store: Store,
    install,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_lock", lambda _: Finding("note", "dvc.lock", "unknown", "wait"))
    before = {p: p.read_bytes() for p in paths.workspace.rglob("*") if p.is_file()}
    assert main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    project = Project(check_params(shipped_values(), where="it"), paths)
    assert [finding["check"] for finding in said] == [f.check for f in examine(project)]
    install("lightning", "2.6.2")
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("FAULT  lightning: ") for line in lines)
    assert lines[-1] == "1 faults"
    assert {p: p.read_bytes() for p in paths.workspace.rglob("*") if p.is_file()} == before
