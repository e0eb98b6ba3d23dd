"""Projects in temporary folders that benchmarks run in, empty or with many runs."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rhobeta.config.params import flatten, load_params
from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store
from rhobeta.tracking.tags import COMMIT_TAG, DATA_TAG, MODEL_TAG, STAGE_TAG

RUNS = 1000
_METRICS, _RUNS_OF_A_COMMIT = 110, 7
_IDENTITY = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")


@contextmanager
def project(paths: Paths, changes: dict[str, Any]) -> Iterator[Paths]:
    """A committed project in a temporary folder, on this one's splits and parameters."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "data" / "processed").symlink_to(paths.splits)
        (folder / "dvc.yaml").write_text((paths.workspace / "dvc.yaml").read_text())
        (folder / ".gitignore").write_text("data/\nmlruns/\nreports/\n")
        values = YAML(typ="safe").load(paths.params.read_text())
        values["runtime"]["accelerator"] = "cpu"
        for path, value in changes.items():
            section, _, key = path.partition(".")
            values[section][key] = value
        with (folder / "params.yaml").open("w") as file:
            YAML(typ="safe").dump(values, file)
        _git(folder, "init", "--quiet")
        _commit(folder, ".")
        yield Paths(workspace=folder, store_root=folder)


@contextmanager
def full_project(paths: Paths, runs: int = RUNS) -> Iterator[tuple[Paths, list[str]]]:
    """A project whose model has its run, among many others; and the ids of these."""
    with project(paths, {}) as place:
        for name in ("models", "reports"):
            shutil.copytree(paths.workspace / name, place.workspace / name)
        place.baselines.symlink_to(paths.baselines)
        shutil.copy(paths.workspace / "dvc.lock", place.workspace)
        _commit(place.workspace, "dvc.lock")
        (place.workspace / ".dvc").symlink_to(paths.workspace / ".dvc")
        ids = fill_store(place, runs)
        sync = [sys.executable, "-m", "rhobeta", "sync"]
        subprocess.run(sync, cwd=place.workspace, check=True, capture_output=True)
        yield place, ids


def fill_store(place: Paths, count: int) -> list[str]:
    """Add runs as trainings leave them, each of a model of its own; returns their ids.

    MLflow writes the first run. The others are copies of its rows in the tables.
    """
    params = load_params(place.params)
    store = open_store(place, params.runtime.experiment)
    if count == 0:
        return []

    from mlflow.entities import Metric, Param

    tags = {MODEL_TAG: "", DATA_TAG: "0" * 64, STAGE_TAG: "train", COMMIT_TAG: ""}
    first = store.client.create_run(store.experiment_id, run_name="run 0", tags=tags).info.run_id
    texts = {name: str(value) for name, value in flatten(params).items()}
    store.client.log_batch(
        first,
        params=[Param(name, value) for name, value in texts.items()][:100],
        metrics=[Metric(f"test/m{n}", n / 7, 0, 0) for n in range(_METRICS)],
    )
    store.client.set_terminated(first)
    ids = [first, *(uuid.uuid4().hex for _ in range(count - 1))]
    with closing(sqlite3.connect(place.store / "mlflow.db")) as database, database:
        for table in ("runs", "params", "metrics", "latest_metrics", "tags"):
            found = database.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (first,))
            place_of_id = [column[0] for column in found.description].index("run_uuid")
            rows = [list(row) for row in found]
            marks = ", ".join("?" * len(rows[0]))
            copies = [
                [*row[:place_of_id], run, *row[place_of_id + 1 :]]
                for run in ids[1:]
                for row in rows
            ]
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", copies)
        for number, run in enumerate(ids):
            values = {
                MODEL_TAG: f"{number:064x}",
                COMMIT_TAG: commit_id(number // _RUNS_OF_A_COMMIT),
                "mlflow.runName": f"run {number}",
            }
            database.executemany(
                "UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?",
                [(value, run, key) for key, value in values.items()],
            )
            database.execute("UPDATE runs SET name = ? WHERE run_uuid = ?", (f"run {number}", run))
            database.execute(
                "UPDATE params SET value = ? WHERE run_uuid = ? AND key = 'penalty.rho'",
                (str(0.01 + number / count / 2), run),
            )
            for table in ("metrics", "latest_metrics"):
                database.execute(
                    f"UPDATE {table} SET value = value + ? WHERE run_uuid = ?", (number, run)
                )
    return ids


def commit_id(number: int) -> str:
    """The commit that every seventh run begins."""
    return f"{number:040x}"


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *_IDENTITY, *words], cwd=folder, check=True)


def _commit(folder: Path, name: str) -> None:
    _git(folder, "add", name)
    _git(folder, "commit", "--quiet", "-m", "bench")
