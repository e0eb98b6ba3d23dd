"""`rhobeta trace` and `rhobeta sync`, whole commands, with 1,000 other runs in the store.

In a project of its own in a temporary folder, with this one's splits, model, reports and lock.
`python -m benchmarks.story` runs it alone.
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
from rhobeta.files import sha256_of_file
from rhobeta.params import flatten, load_params
from rhobeta.paths import Paths, find_paths
from rhobeta.tracking.run import DATA_TAG, MODEL_TAG
from rhobeta.tracking.store import open_store

RUNS, TIMES = 1000, 5
_METRICS = 40


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    found = []
    with full_project(paths) as (place, run_id):
        commands = {
            f"`rhobeta sync` with nothing to do, {RUNS:,} runs": ["sync"],
            f"`rhobeta trace` of a model file, {RUNS:,} runs": ["trace", str(place.model)],
            f"`rhobeta trace` of a run, {RUNS:,} runs": ["trace", run_id],
            f"`rhobeta trace` of a commit, {RUNS:,} runs": ["trace", "HEAD"],
        }
        for name, words in commands.items():
            seconds = statistics.median(_seconds(words, place.workspace) for _ in range(TIMES))
            found.append(
                (f"{name} (median of {TIMES})", f"{seconds:.2f} s", "at most 3 s", seconds <= 3)
            )
    return found


@contextmanager
def full_project(paths: Paths) -> Iterator[tuple[Paths, str]]:
    """A project whose model has its run, among many others; and the id of one of these."""
    with project(paths, {}) as place:
        for name in ("models", "reports"):
            shutil.copytree(paths.workspace / name, place.workspace / name)
        lock = paths.workspace / "dvc.lock"
        shutil.copy(lock, place.workspace)
        for words in (["add", "dvc.lock"], ["commit", "--quiet", "-m", "reproduced"]):
            identity = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")
            subprocess.run(["git", *identity, *words], cwd=place.workspace, check=True)
        (place.workspace / ".dvc").symlink_to(paths.workspace / ".dvc")
        run_id = fill_store(place, RUNS)
        _seconds(["sync"], place.workspace)
        yield place, run_id


def fill_store(place: Paths, count: int) -> str:
    """Add runs as trainings leave them, each of a model of its own; returns the id of the last."""
    params = load_params(place.params)
    store = open_store(place, params.runtime.experiment)

    from mlflow.entities import Metric, Param, RunTag

    texts = [Param(name, str(value)) for name, value in flatten(params).items()]
    data = sha256_of_file(place.params)
    for number in range(count):
        run = store.client.create_run(store.experiment_id, run_name=f"run {number}")
        tags = {MODEL_TAG: f"{number:064x}", DATA_TAG: data, "rhobeta.stage": "train"}
        store.client.log_batch(
            run.info.run_id,
            params=texts[:100],
            tags=[RunTag(name, value) for name, value in tags.items()],
            metrics=[Metric(f"test/m{n}", n / 7, number, 0) for n in range(_METRICS)],
        )
        store.client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _seconds(words: list[str], folder: Path) -> float:
    command = [sys.executable, "-m", "rhobeta", *words]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return seconds


if __name__ == "__main__":
    for row in rows(find_paths()):
        print(*row[:3], "yes" if row[3] else "NO", sep="  ")
