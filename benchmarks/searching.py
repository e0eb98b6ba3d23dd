"""The search: what a trial costs above its training, and how fast workers run trials.

All on the project's processed data and parameters, each in a project of its own in a temporary
folder, with sqlite for both stores. Rates are those of finished trials after the first of each
worker, so that imports and reading the data, which a worker does once, are left out.
"""

import subprocess
import sys
import time
from typing import Any

import optuna

from benchmarks.projects import project
from benchmarks.table import Bench, Row, ratio_row, seconds_row
from rhobeta.config.params import load_params, with_values
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.paths import Paths
from rhobeta.training.fit import fit
from rhobeta.tuning.objective import TrialObjective
from rhobeta.tuning.tune import open_session
from rhobeta.utils.threads import use_threads

TRIALS = 5
"""Trials of each worker."""
SEARCH = 100
"""Trials of the committed search."""


def rows(bench: Bench) -> list[Row]:
    """Rows of the benchmark's table."""
    one = search(bench.paths, {"tune.trials": TRIALS}, workers=1)
    two = search(bench.paths, {"tune.trials": 2 * TRIALS}, workers=2)
    whole = SEARCH * two
    return [
        ratio_row("a trial / its training alone", trial_and_training(bench), 1.1),
        ratio_row("seconds a trial, 2 workers / 1", {"two": [two], "one": [one]}, 1 / 1.7),
        seconds_row(f"{SEARCH} trials, 2 workers, from the rate of {2 * TRIALS}", [whole], 1800),
    ]


def trial_and_training(bench: Bench) -> dict[str, list[float]]:
    """Seconds of a trial, and of a bare training of the same parameters, in turns."""
    with project(bench.paths, {"tune.startup_trials": 1, "tune.constraints": []}) as place:
        params = load_params(place.params)
        use_threads(1)
        session = open_session(params, place, asked=bench.rounds, threads=1)
        objective = TrialObjective(session.job)
        manifest = read_manifest(place.splits)
        train = read_split(place.splits, "train", manifest)
        validation = read_split(place.splits, "validation", manifest)
        values = {"penalty.target": 0.1, "training.learning_rate": 0.01}

        def trial() -> list[float]:
            started = time.perf_counter()
            session.study.enqueue_trial(values)
            session.study.optimize(objective, n_trials=1)
            return [time.perf_counter() - started]

        def training() -> list[float]:
            started = time.perf_counter()
            fit(with_values(params, values), train, validation, progress=False)
            return [time.perf_counter() - started]

        fit(with_values(params, {"training.epochs": 2}), train, validation, progress=False)
        return bench.in_turns({"trial": trial, "training": training}, 4)


def search(paths: Paths, changes: dict[str, Any], *, workers: int) -> float:
    """Run the command on changed parameters; returns the seconds from one finished trial on."""
    with project(paths, changes) as place:
        command = [sys.executable, "-m", "rhobeta", "tune", "--workers", str(workers)]
        done = subprocess.run(
            command, cwd=place.workspace, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        storage = f"sqlite:///{place.store / 'optuna.db'}"
        study = optuna.load_study(study_name="target", storage=storage)
        trials = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        ends = sorted(t.datetime_complete for t in trials if t.datetime_complete is not None)
        # As many trials as there are workers come out of the loading of the data.
        seconds = (ends[-1] - ends[workers - 1]).total_seconds()
        return seconds / (len(ends) - workers)
