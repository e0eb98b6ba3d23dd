"""The search: what a trial costs above its training, what a second worker and pruning bring.

All on the project's processed data and parameters, each in a project of its own in a temporary
folder, with sqlite for both stores. Rates are those of finished trials after the first one, so
that imports and reading the data, which a worker does once, are left out. Takes some forty
minutes; `python -m benchmarks.tuning` runs it alone.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from ruamel.yaml import YAML

from rhobeta.config.params import load_params, with_values
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.paths import Paths, find_paths
from rhobeta.training.fit import fit
from rhobeta.tuning.objective import TrialObjective
from rhobeta.tuning.tune import open_session

# Turns of bare training and trial, at the epochs that params.yaml has.
TURNS = 4
# Trials of a worker, and their epochs, where rates are compared.
TRIALS, EPOCHS = 12, 10
# Of the studies with and without pruning; the sampler's seeds give the noise of the best value.
PRUNED_TRIALS, PRUNED_EPOCHS, SEEDS = 40, 27, (0, 1)
SINGLE = {"tune.mode": "single", "tune.objectives": {"fvu": "minimize"}, "tune.constraints": []}


@dataclass(frozen=True)
class Search:
    """What a study of the command came to."""

    per_minute: float
    best: float


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    bare, trial = trial_and_training(paths)
    one = search(paths, {"tune.trials": TRIALS, "training.epochs": EPOCHS}, workers=1)
    two = search(paths, {"tune.trials": 2 * TRIALS, "training.epochs": EPOCHS}, workers=2)
    above, scaling = trial / bare - 1, two.per_minute / one.per_minute
    return [
        (
            f"a trial above its training alone (median of {TURNS} each)",
            f"{above:+.1%} ({trial:.2f} s, bare {bare:.2f} s)",
            "at most 10%",
            above <= 0.1,
        ),
        (
            "trials per minute, 2 workers / 1",
            f"{scaling:.2f} ({two.per_minute:.1f} and {one.per_minute:.1f})",
            "at least 1.7",
            scaling >= 1.7,
        ),
        *_pruning_rows(paths),
    ]


def trial_and_training(paths: Paths) -> tuple[float, float]:
    """Median seconds of a bare training, and of a trial of the same parameters, in turns."""
    bare, whole = [], []
    with project(paths, {"tune.startup_trials": 1, "tune.constraints": []}) as place:
        params = load_params(place.params)
        session = open_session(params, place, asked=TURNS, threads=1)
        objective = TrialObjective(session.job)
        manifest = read_manifest(place.splits)
        images = (
            read_split(place.splits, "train", manifest),
            read_split(place.splits, "validation", manifest),
        )
        fit(with_values(params, {"training.epochs": 1}), *images, progress=False)
        for turn in range(TURNS):
            values = {"penalty.rho": 0.05 + 0.01 * turn, "penalty.beta": 0.002}
            started = time.perf_counter()
            fit(with_values(params, values), *images, progress=False)
            between = time.perf_counter()
            session.study.enqueue_trial(values)
            session.study.optimize(objective, n_trials=1)
            bare.append(between - started)
            whole.append(time.perf_counter() - between)
    return statistics.median(bare), statistics.median(whole)


def search(paths: Paths, changes: dict[str, Any], *, workers: int) -> Search:
    """Run the command on changed parameters; finished trials per minute, and the best value."""
    with project(paths, changes) as place:
        command = [sys.executable, "-m", "rhobeta", "tune", "--workers", str(workers)]
        done = subprocess.run(
            command, cwd=place.workspace, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        storage = f"sqlite:///{place.store / 'optuna.db'}"
        study = optuna.load_study(study_name="rho-beta", storage=storage)
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        trials = study.get_trials(states=states)
        ends = sorted(t.datetime_complete for t in trials if t.datetime_complete is not None)
        # As many trials as there are workers come out of the loading of the data.
        seconds = (ends[-1] - ends[workers - 1]).total_seconds()
        complete = [t.values[0] for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
        return Search(60 * (len(ends) - workers) / seconds, min(complete))


def _pruning_rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    found: dict[str, list[Search]] = {"none": [], "halving": []}
    for seed in SEEDS:
        for pruner, searches in found.items():
            changes = {
                **SINGLE,
                "tune.pruner": pruner,
                "tune.seed": seed,
                "tune.trials": PRUNED_TRIALS,
                "training.epochs": PRUNED_EPOCHS,
            }
            searches.append(search(paths, changes, workers=2))
    rate = {pruner: statistics.median(s.per_minute for s in f) for pruner, f in found.items()}
    best = {pruner: statistics.mean(s.best for s in f) for pruner, f in found.items()}
    noise = max(statistics.stdev(s.best for s in searches) for searches in found.values())
    faster, worse = rate["halving"] / rate["none"], best["halving"] - best["none"]
    return [
        (
            f"trials per minute, halving / no pruning (median of {len(SEEDS)} studies each)",
            f"{faster:.2f} ({rate['halving']:.1f} and {rate['none']:.1f})",
            "at least 2",
            faster >= 2,
        ),
        (
            "best FVU, halving less no pruning (mean of the same studies)",
            f"{worse:+.5f} ({best['halving']:.5f}; spread over seeds {noise:.5f})",
            "within 2 spreads",
            worse <= 2 * noise,
        ),
    ]


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
        identity = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "bench"]):
            subprocess.run(["git", *identity, *words], cwd=folder, check=True)
        yield Paths(workspace=folder, store_root=folder)


if __name__ == "__main__":
    for row in rows(find_paths()):
        print(*row[:3], "yes" if row[3] else "NO", sep="  ")
