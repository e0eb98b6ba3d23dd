"""Every fault that `rhobeta doctor` knows, brought about for real."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from helpers import git
from rhobeta.cli import main
from rhobeta.data.labelled import LabelledImages
from rhobeta.data.splits import write_splits
from rhobeta.lineage import doctor_project as project
from rhobeta.lineage import doctor_shared_store as shared_store
from rhobeta.lineage import doctor_stores as stores
from rhobeta.lineage.doctor import examine
from rhobeta.lineage.doctor_environment import check_environment
from rhobeta.lineage.doctor_finding import Finding
from rhobeta.lineage.doctor_project import check_project
from rhobeta.lineage.doctor_stores import check_stores
from rhobeta.paths import Paths
from rhobeta.tracking import queued
from rhobeta.tracking.actions import Action
from rhobeta.tracking.database import known_versions, prepare_database
from rhobeta.tracking.outbox import outbox_of
from rhobeta.tracking.store import Store, open_store
from rhobeta.tracking.tags import MODEL_TAG, STAGE_TAG
from rhobeta.training.checkpoint_folder import CheckpointFolder


def of(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below, but for DVC's own scratch."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not {"tmp", "cache"} & set(path.relative_to(folder).parts)
    }


# The environment


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
def asked(tmp_path: Path) -> Path:
    """A workspace that asks for what this project does."""
    folder = tmp_path / "asking"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.11"\n'
        'dependencies = ["pytorch-lightning>=2.6.6,<3", "mlflow>=3.13,!=3.18.0,<4", "numpy>=2.0"]\n'
    )
    return folder


def test_the_environment_of_the_tests_is_sound(asked: Path) -> None:
    assert {finding.level for finding in check_environment(asked)} == {"ok"}


@pytest.mark.parametrize(
    ("name", "version", "check", "found"),
    [
        ("lightning", "2.6.2", "lightning", "malware"),
        ("lightning", "2.6.3", "lightning", "malware"),
        ("lightning", "2.6.5", "lightning", "both lightning 2.6.5 and pytorch_lightning"),
        ("pytorch-lightning", "2.6.5", "packages", "pytorch-lightning 2.6.5, but"),
        ("mlflow", "3.18.0", "packages", "mlflow 3.18.0, but"),
        ("numpy", "1.26.4", "packages", "numpy 1.26.4, but"),
        ("torch", "2.13.0+cpu", "torch", "torch 2.13.0+cpu with torchvision"),
        ("torchvision", "0.29.2+cpu", "torch", "are no pair"),
    ],
)
def test_versions_that_are_known_to_be_bad(
    install, asked: Path, name: str, version: str, check: str, found: str
) -> None:
    install(name, version)
    fault = of(check_environment(asked), check)
    assert fault.level == "FAULT"
    assert found in fault.found
    assert fault.advice


def test_a_torchvision_that_asks_for_another_torch(install, asked: Path) -> None:
    install("torch", "2.11.0")
    install("torchvision", "0.29.2", "numpy", "torch (==2.15.0)")
    assert of(check_environment(asked), "torch").level == "FAULT"


def test_a_python_and_a_package_that_do_not_do(asked: Path) -> None:
    (asked / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=9"\ndependencies = ["no-such-package>=1"]\n'
    )
    findings = check_environment(asked)
    assert "the project asks for >=9" in of(findings, "python").found
    assert of(findings, "packages").found == "no-such-package is not installed"


# The project


def test_a_folder_without_git(paths: Paths, tmp_path: Path) -> None:
    assert of(check_project(paths), "git").level == "ok"
    bare = tmp_path / "bare"
    bare.mkdir()
    fault = of(check_project(Paths(bare, bare)), "git")
    assert fault.level == "FAULT"
    assert "git init" in fault.advice


def test_data_that_is_not_what_its_manifest_says(paths: Paths, digits: LabelledImages) -> None:
    assert of(check_project(paths), "data").level == "note"
    splits = {name: digits.take(range(60)) for name in ("train", "validation", "test")}
    write_splits(paths.splits, splits, raw_files={}, parameters={"data.name": "own"})
    assert of(check_project(paths), "data").level == "ok"
    test = paths.splits / "test.safetensors"
    test.write_bytes(test.read_bytes()[:-1] + b"\x07")
    damaged = of(check_project(paths), "data")
    assert (damaged.level, "not the file" in damaged.found) == ("FAULT", True)
    test.unlink()
    assert of(check_project(paths), "data").found == f"{test} is gone"
    (paths.splits / "manifest.json").write_text("{}")
    assert of(check_project(paths), "data").level == "FAULT"


def test_a_lock_file_that_is_current_and_one_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1")
    stage = "stages:\n  copy:\n    cmd: cp in out\n    deps: [in]\n    outs: [out]\n"
    (tmp_path / "dvc.yaml").write_text(stage)
    git(tmp_path, "init", "--quiet")
    paths = Paths(tmp_path, tmp_path)
    assert project._lock(paths).found.endswith("is no DVC repository")
    for command in (["init", "--quiet"], ["repro", "--quiet"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True)
    assert project._lock(paths) == Finding("ok", "dvc.lock", "current")
    (tmp_path / "in").write_text("2")
    assert project._lock(paths).found == "not current: copy would run"
    # As a `dvc` leaves it that is killed while it writes.
    (tmp_path / "dvc.lock").write_text("")
    broken = project._lock(paths)
    assert (broken.level, "validation failed" in broken.found) == ("FAULT", True)
    assert "git checkout dvc.lock" in broken.advice


def test_a_disk_with_little_room(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, level in ((10e9, "ok"), (1e9, "note"), (1e8, "FAULT")):
        monkeypatch.setattr(
            project.shutil, "disk_usage", lambda _, free=free: type("U", (), {"free": free})
        )
        assert project._room(paths).level == level


def test_a_store_that_cannot_be_written(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.os, "access", lambda place, _: place != paths.workspace)
    assert project._writable(paths).found == f"{paths.workspace} cannot be written"


# The stores


@pytest.fixture
def store(paths: Paths) -> Store:
    return open_store(paths, "tests")


def test_a_store_in_which_all_is_well(paths: Paths, store: Store) -> None:
    run = store.client.create_run(store.experiment_id, tags={"rhobeta.stage": "train"})
    store.client.set_terminated(run.info.run_id)
    assert {finding.level for finding in check_stores(paths)} == {"ok"}


def test_a_file_store_of_an_older_mlflow(paths: Paths) -> None:
    (paths.store / "0").mkdir(parents=True)
    (paths.store / "0" / "meta.yaml").write_text("name: Default\n")
    assert "refuses since 3.13" in of(check_stores(paths), "file store").found


@contextmanager
def changed(paths: Paths) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(paths.store / "mlflow.db")) as database:
        yield database
        database.commit()


def test_a_database_of_another_version_or_half_written(paths: Paths) -> None:
    file = paths.store / "mlflow.db"
    paths.store.mkdir()
    prepare_database(file, paths.store / "artifacts")
    whole = file.read_bytes()
    older = known_versions()[0]
    for version, found in ((older, "of an older MLflow"), ("f" * 12, "of a newer MLflow")):
        with changed(paths) as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        fault = of(check_stores(paths), "MLflow database")
        assert (fault.level, fault.found.startswith(found)) == ("FAULT", True)
    file.write_bytes(whole[: len(whole) // 2 + 100])
    assert "is damaged" in of(check_stores(paths), "MLflow database").found
    file.unlink()
    with changed(paths) as database:
        database.execute("CREATE TABLE runs (run_uuid)")
    assert "tables are missing" in of(check_stores(paths), "MLflow database").found


def test_runs_that_dead_processes_left_running(paths: Paths, store: Store) -> None:
    ids = [
        store.client.create_run(store.experiment_id, tags={"rhobeta.stage": stage}).info.run_id
        for stage in ("train", "train", "trial")
    ]
    paths.checkpoints.mkdir(parents=True)
    CheckpointFolder(paths.checkpoints / "abc").note_run(ids[0])
    with FileLock(paths.checkpoints / "abc.lock"):
        findings = check_stores(paths)
    assert of(findings, "runs").level == "FAULT"
    assert ids[1] in of(findings, "runs").found
    assert ids[0] not in of(findings, "runs").found
    assert of(findings, "unfinished").level == "ok"
    findings = check_stores(paths)
    assert ids[0] in of(findings, "runs").found
    assert ids[2] not in of(findings, "runs").found
    unfinished = of(findings, "unfinished")
    assert (unfinished.level, unfinished.found[:11]) == ("note", "1 trainings")


def test_runs_of_a_search_that_are_running_are_noted(paths: Paths, store: Store) -> None:
    for stage in ("tune", "trial", "trial"):
        store.client.create_run(store.experiment_id, tags={STAGE_TAG: stage})
    found = of(check_stores(paths), "searches")
    assert (found.level, found.found) == ("note", "1 studies and 2 trials are RUNNING")
    assert "start it again" in found.advice


def test_a_shared_store_is_looked_into(
    paths: Paths, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any store that is no file of sqlite's is asked through MLflow.
    monkeypatch.setattr(shared_store, "find_store", lambda _: store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret-word@there/mlflow")
    findings = check_stores(paths)
    assert of(findings, "MLflow store").found == "postgresql://there/mlflow answers"
    assert of(findings, "runs").level == "ok"
    run = store.client.create_run(store.experiment_id, start_time=86_400_000).info.run_id
    running = of(check_stores(paths), "runs")
    assert running.level == "note"
    assert f"1 are RUNNING, the oldest {run} since 1970-01-02" in running.found


def test_a_database_that_is_down_is_a_fault(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret-word@127.0.0.1:9/mlflow")
    found = of(check_stores(paths), "MLflow store")
    assert found.level == "FAULT"
    assert "cannot be used" in found.found
    assert "secret-word" not in str(found)


def test_a_database_without_mlflow_is_one_finding_among_others(
    paths: Paths, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "known_versions", list)
    findings = check_stores(paths)
    assert "MLflow is not installed" in of(findings, "MLflow database").found
    assert of(findings, "outbox").level == "ok"


def test_two_runs_that_claim_one_model(paths: Paths, store: Store) -> None:
    claims = [{MODEL_TAG: "a" * 64}, {MODEL_TAG: "a" * 64}, {MODEL_TAG: "b" * 64}]
    ids = [store.client.create_run(store.experiment_id, tags=tags).info.run_id for tags in claims]
    found = of(check_stores(paths), "models")
    assert found.level == "note"
    assert "aaaaaaaaaaaa" in found.found
    assert ids[0] in found.found
    assert ids[2] not in found.found
    store.client.delete_run(ids[1])
    assert of(check_stores(paths), "models").level == "ok"


def test_what_waits_and_a_server_that_does_not_answer(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = {"store": "http://127.0.0.1:9", "experiment_id": "1", "model_sha256": None}
    for run in ("one", "two"):
        queued.put(outbox_of(paths) / run, Action("tags", {}), origin)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret-word@127.0.0.1:9")
    findings = check_stores(paths)
    assert of(findings, "outbox").found == "2 records of 2 runs wait for http://127.0.0.1:9"
    server = of(findings, "MLflow store")
    assert server.level == "FAULT"
    assert "127.0.0.1:9 does not answer" in server.found
    assert not any("secret-word" in str(finding) for finding in findings)


def test_the_command_says_all_of_it_and_changes_nothing(
    paths: Paths, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    before = contents(paths.workspace)
    assert main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {finding["level"] for finding in said} <= {"ok", "note"}
    assert [finding["check"] for finding in said] == [f.check for f in examine(paths)]
    (paths.store / "0").mkdir()
    (paths.store / "0" / "meta.yaml").write_text("name: Default\n")
    after = contents(paths.workspace)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("FAULT  file store: ") for line in lines)
    assert lines[-1] == "1 faults"
    assert contents(paths.workspace) == after
    assert {name: after[name] for name in before} == before
