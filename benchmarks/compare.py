"""Whole comparisons, as processes, with a thousand runs in the store.

The store is made anew in a temporary folder, in a minute or two; each run has as many parameters,
metrics and tags as that of a training. `python -m benchmarks.compare` runs it alone.
"""

import statistics
import subprocess
import sys
import time

from mlflow.entities import Metric, Param

from benchmarks.tuning import project
from rhobeta.params import flatten, load_params
from rhobeta.paths import Paths, find_paths
from rhobeta.tracking.store import Store, open_store

RUNS = 1000
METRICS = 110
TIMES = 5
TARGET = 3.0


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    with project(paths, {}) as place:
        ids = fill(open_store(place, load_params(place.params).runtime.experiment), place)
        return [
            _row(place, "two runs by id", ids[0], ids[-1]),
            _row(place, "a run by name, seven by their commit", "run 17", f"{77:040x}"),
        ]


def fill(store: Store, place: Paths) -> list[str]:
    """Log `RUNS` runs, seven at a commit; returns their ids."""
    params = {path: str(value) for path, value in flatten(load_params(place.params)).items()}
    client, ids = store.client, []
    for number in range(RUNS):
        tags = {
            "mlflow.source.git.commit": f"{number // 7:040x}",
            "rhobeta.stage": "train",
            "rhobeta.model_sha256": f"{number:064x}",
            "rhobeta.data_sha256": "0" * 64,
        }
        run = client.create_run(store.experiment_id, run_name=f"run {number}", tags=tags)
        own = params | {"penalty.rho": str(0.01 + number / RUNS / 2)}
        client.log_batch(
            run.info.run_id,
            params=[Param(path, value) for path, value in own.items()][:100],
            metrics=[Metric(f"test/m{i}", i + number, 0, 0) for i in range(METRICS)],
        )
        client.set_terminated(run.info.run_id)
        ids.append(run.info.run_id)
    return ids


def _row(place: Paths, what: str, *words: str) -> tuple[str, str, str, bool]:
    command = [sys.executable, "-m", "rhobeta", "compare", *words, "--no-page"]
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        done = subprocess.run(
            command, cwd=place.workspace, capture_output=True, text=True, check=False
        )
        seconds.append(time.perf_counter() - started)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    median = statistics.median(seconds)
    return (
        f"`rhobeta compare`, {RUNS:,} runs in the store: {what} (median of {TIMES})",
        f"{median:.2f} s",
        f"at most {TARGET:g} s",
        median <= TARGET,
    )


if __name__ == "__main__":
    for row in rows(find_paths()):
        print(*row[:3], "yes" if row[3] else "NO", sep="  ")
