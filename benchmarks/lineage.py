"""Whole commands, `rhobeta sync`, `trace` and `compare`, with 1,000 other runs in the store.

They run in a temporary project with this one's splits, model, reports and lock. Each run has as
many parameters, metrics and tags as a training. Importing MLflow alone is measured in turns with
each command. `python -m benchmarks.lineage` runs this benchmark alone, in five minutes.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.tuning import project
from rhobeta.config.params import flatten, load_params
from rhobeta.paths import Paths, find_paths
from rhobeta.tracking.store import open_store
from rhobeta.tracking.tags import COMMIT_TAG, DATA_TAG, MODEL_TAG, STAGE_TAG

RUNS, TIMES, TARGET = 1000, 5, 3.0
_METRICS, _RUNS_OF_A_COMMIT = 110, 7
_IMPORT = [
    sys.executable,
    "-c",
    "from mlflow import MlflowClient; import mlflow.store.tracking.sqlalchemy_store",
]


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    with full_project(paths) as (place, ids):
        commands = {
            "`sync` with nothing to do": ["sync"],
            "`trace` of a model file": ["trace", str(place.model)],
            "`trace` of a run": ["trace", ids[-1]],
            "`trace` of a commit": ["trace", "HEAD"],
            "`compare` of two runs, the table": ["compare", ids[0], ids[-1], "--no-page"],
            "`compare` of eight runs by name and commit, the table": [
                *("compare", "run 17", _commit(77), "--no-page")
            ],
            "`compare` of the workspace's model and a run, table and page": [
                *("compare", "workspace", ids[0])
            ],
        }
        return [_row(name, words, place.workspace) for name, words in commands.items()]


@contextmanager
def full_project(paths: Paths) -> Iterator[tuple[Paths, list[str]]]:
    """A project whose model has its run, among many others; and the ids of these."""
    with project(paths, {}) as place:
        for name in ("models", "reports"):
            shutil.copytree(paths.workspace / name, place.workspace / name)
        lock = paths.workspace / "dvc.lock"
        shutil.copy(lock, place.workspace)
        for words in (["add", "dvc.lock"], ["commit", "--quiet", "-m", "reproduced"]):
            identity = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")
            subprocess.run(["git", *identity, *words], cwd=place.workspace, check=True)
        (place.workspace / ".dvc").symlink_to(paths.workspace / ".dvc")
        ids = fill_store(place, RUNS)
        _seconds(_rhobeta("sync"), place.workspace)
        yield place, ids


def fill_store(place: Paths, count: int) -> list[str]:
    """Add runs as trainings leave them, each of a model of its own; returns their ids."""
    params = load_params(place.params)
    store = open_store(place, params.runtime.experiment)

    from mlflow.entities import Metric, Param

    texts = {name: str(value) for name, value in flatten(params).items()}
    ids = []
    for number in range(count):
        tags = {
            MODEL_TAG: f"{number:064x}",
            DATA_TAG: "0" * 64,
            STAGE_TAG: "train",
            COMMIT_TAG: _commit(number // _RUNS_OF_A_COMMIT),
        }
        run = store.client.create_run(store.experiment_id, run_name=f"run {number}", tags=tags)
        own = texts | {"penalty.rho": str(0.01 + number / count / 2)}
        store.client.log_batch(
            run.info.run_id,
            params=[Param(name, value) for name, value in own.items()][:100],
            metrics=[Metric(f"test/m{n}", n / 7 + number, 0, 0) for n in range(_METRICS)],
        )
        store.client.set_terminated(run.info.run_id)
        ids.append(run.info.run_id)
    return ids


def _commit(number: int) -> str:
    return f"{number:040x}"


def _rhobeta(*words: str) -> list[str]:
    return [sys.executable, "-m", "rhobeta", *words]


def _row(name: str, words: list[str], folder: Path) -> tuple[str, str, str, bool]:
    whole, imports = [], []
    for _ in range(TIMES):
        whole.append(_seconds(_rhobeta(*words), folder))
        imports.append(_seconds(_IMPORT, folder))
    seconds = statistics.median(whole)
    return (
        f"{name}, {RUNS:,} runs (median of {TIMES})",
        f"{seconds:.2f} s (importing MLflow alone {statistics.median(imports):.2f} s)",
        f"at most {TARGET:g} s",
        seconds <= TARGET,
    )


def _seconds(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return seconds


if __name__ == "__main__":
    for row in rows(find_paths()):
        print(*row[:3], "yes" if row[3] else "NO", sep="  ")
