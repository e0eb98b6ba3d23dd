"""The study's table and plots: in a folder, and in its MLflow run."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from optuna.study import Study

from rhobeta.config.params import Params
from rhobeta.paths import Paths
from rhobeta.reporting.hover import spots_of
from rhobeta.reporting.pages import render_template
from rhobeta.reporting.report import Picture
from rhobeta.reporting.style import save, style
from rhobeta.tracking.run import Run
from rhobeta.tracking.tags import NOTE_TAG
from rhobeta.tuning.choice import rule_in_words
from rhobeta.tuning.plots import plot_study
from rhobeta.tuning.study_results import StudyResults, as_csv
from rhobeta.tuning.study_runs import run_link
from rhobeta.utils.files import atomic_folder, write_text

_TABLE = "trials.csv"
_FRONT = "front.html"
_STATES = ("complete", "pruned", "failed")


def results_lock(paths: Paths) -> AbstractContextManager[Any]:
    """A lock to hold while results are written and logged.

    All commands of a search end at the same moment, and each replaces the folder.
    """
    from filelock import FileLock

    paths.store.mkdir(parents=True, exist_ok=True)
    return FileLock(paths.store / ".tuning.lock")


def write_results(results: StudyResults, study: Study, params: Params, folder: Path) -> list[Path]:
    """Write `trials.csv`, the plots as PNG, and the fronts as a page; returns their paths."""
    with style(), atomic_folder(folder) as partial:
        write_text(partial / _TABLE, as_csv(results))
        fronts = {}
        for name, figure in plot_study(study, results, params.tune).items():
            file = partial / f"{name}.png"
            save(figure, file, params.visualize.dpi)
            if name.startswith("front"):
                fronts[name] = Picture(file, spots_of(figure))
        if fronts:
            page = render_template("study.html.j2", name=params.tune.study, pictures=fronts)
            write_text(partial / _FRONT, page)
    return sorted(folder.iterdir())


def describe_results(run: Run, results: StudyResults, params: Params, files: list[Path]) -> None:
    """Log table, plots, choice and description to the study's run."""
    for path in files:
        run.log_file(path, None if path.name == _TABLE else "figures")
    states = [row.state for row in results.rows]
    run.log_metrics({f"trials/{state}": float(states.count(state)) for state in _STATES})
    lines = [f"**{params.tune.study}**: {len(results.complete)} complete trials."]
    if results.shortfall:
        lines.append(results.shortfall)
    if results.chosen is None:
        lines.append(results.why_none)
    else:
        row = results.row(results.chosen)
        run.set_tags(
            {
                "rhobeta.chosen_trial": str(row.number),
                **{f"chosen.{path}": str(value) for path, value in row.values.items()},
            }
        )
        run.log_metrics({f"chosen/{name}": value for name, value in row.measures.items()})
        values = ", ".join(f"`{path}` = {value}" for path, value in row.values.items())
        link = f"[trial {row.number}]({run_link(run.store, row.run_id)})"
        lines.append(f"Chosen: {link}, {values}.")
        if params.tune.mode == "pareto":
            lines.append(f"Rule: {rule_in_words(params.tune.rule, results.objectives)}.")
    run.set_tags({NOTE_TAG: "\n\n".join(lines)})
