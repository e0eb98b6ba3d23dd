"""The study's table and pictures in a folder, and in its MLflow run."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.config.params import Params
from rhobeta.paths import Paths
from rhobeta.reporting.style import save, style
from rhobeta.tracking.run import Run
from rhobeta.tuning.choice import rule_in_words
from rhobeta.tuning.results import Results, as_csv
from rhobeta.tuning.runs import describe_study, run_link
from rhobeta.utils.files import atomic_folder, write_text

if TYPE_CHECKING:
    from optuna.study import Study

_TABLE = "trials.csv"
_STATES = ("complete", "pruned", "failed")


def one_writer(paths: Paths) -> AbstractContextManager[Any]:
    """A lock to hold while results are written and read again from their folder.

    All commands of a search end at the same moment, and each puts a folder of its own in the place
    of the last one.
    """
    from filelock import FileLock

    paths.store.mkdir(parents=True, exist_ok=True)
    return FileLock(paths.store / ".tuning.lock")


def write_results(results: Results, study: "Study", params: Params, folder: Path) -> list[Path]:
    """Write `trials.csv`, and front, response surface, importance and history as PNG.

    Pictures that the study has too few trials for are left out. Returns what was written.
    """
    from rhobeta.tuning.importance import importances_of
    from rhobeta.tuning.pictures import draw_front, draw_history, draw_importance
    from rhobeta.tuning.surface import draw_surface

    with style(), atomic_folder(folder) as partial:
        write_text(partial / _TABLE, as_csv(results))
        figures = {
            "front": draw_front(results, params.tune),
            "surface": draw_surface(results, params.tune),
            "importance": draw_importance(importances_of(study, results.objectives)),
            "history": draw_history(results, params.tune),
        }
        for name, figure in figures.items():
            if figure is not None:
                save(figure, partial / f"{name}.png", params.visualize.dpi)
    return sorted(folder.iterdir())


def describe_results(run: Run, results: Results, params: Params, files: list[Path]) -> None:
    """Bring table, pictures, choice and description into the study's run."""
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
        lines.append(f"Rule: {rule_in_words(params.tune.rule, results.objectives)}.")
        lines.append(_front_as_markdown(run, results))
    describe_study(run, "\n\n".join(lines))


def _front_as_markdown(run: Run, results: Results) -> str:
    paths = list(results.row(results.front[0].number).values)
    lines = [
        f"| trial | {' | '.join([*paths, *results.objectives])} |",
        "|---" * (1 + len(paths) + len(results.objectives)) + "|",
    ]
    for candidate in results.front:
        row = results.row(candidate.number)
        cells = [f"[{row.number}]({run_link(run.store, row.run_id)})"]
        cells += [str(row.values[path]) for path in paths]
        cells += [f"{row.measures[name]:.4g}" for name in results.objectives]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
