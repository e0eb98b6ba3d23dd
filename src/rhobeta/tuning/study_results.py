"""What a study has found: its trials as rows, its front with repeats, the chosen trial."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from rhobeta.config.params import Params
from rhobeta.config.renamed import current_metric
from rhobeta.config.search import SEED
from rhobeta.errors import RhobetaError
from rhobeta.metrics.confidence import Interval, interval_of
from rhobeta.tuning.choice import MeasuredTrial, choose, front_of
from rhobeta.tuning.space import values_of
from rhobeta.tuning.study import ERROR, MEASURES, RUN, state_of


@dataclass(frozen=True)
class TrialRow:
    """One trial."""

    number: int
    state: str
    """complete, pruned, failed, lost, running or waiting."""
    values: dict[str, Any]
    """Its parameters by path."""
    measures: dict[str, float]
    keeps_bounds: bool
    run_id: str
    note: str
    """The error of one that failed, the epoch of one that was pruned."""


@dataclass(frozen=True)
class StudyResults:
    """What a study has found so far."""

    objectives: dict[str, str]
    rows: list[TrialRow]
    front: list[MeasuredTrial]
    """As trained in the search, each trial once."""
    repeated: dict[int, dict[str, Interval]] = field(default_factory=dict)
    """By trial on the front: each measure over the further seeds, where it was trained with all."""
    chosen: int | None = None
    why_none: str = ""
    """Where nothing is chosen: why."""
    wanted: int = 0
    """Trainings with further seeds that `tune.seeds` asks for."""
    missing: int = 0
    """Those of them that have not been run to their end."""

    def row(self, number: int) -> TrialRow:
        """The trial of that number."""
        return next(row for row in self.rows if row.number == number)

    @property
    def seeds(self) -> int:
        """How many further seeds the trials in `repeated` were trained with."""
        every = (over.seeds for measures in self.repeated.values() for over in measures.values())
        return max(every, default=0)

    @property
    def by_means(self) -> bool:
        """Whether the choice is by means over further seeds, which takes all of them."""
        return bool(self.repeated) and not self.missing

    @property
    def shortfall(self) -> str:
        """Where further seeds are asked for and missing: how many, and what follows; else empty."""
        if not self.missing:
            return ""
        return (
            f"{self.missing} of {self.wanted} trainings with further seeds (tune.seeds) are"
            " missing, not run yet or failed: the choice is by the front as searched, not by means."
        )

    @property
    def complete(self) -> list[TrialRow]:
        """The trials that were trained to the end."""
        return [row for row in self.rows if row.state == "complete"]


def read_results(study: Study, seeds: Study | None, params: Params) -> StudyResults:
    """Read a study, and the one that repeats its front, where there is one.

    The choice is by the means over the further seeds only where each trial on the front has all
    that `tune.seeds` asks for: a few of them would leave the other trials out.
    """
    rows = [_row(trial) for trial in study.get_trials(deepcopy=False)]
    objectives: dict[str, str] = dict(params.tune.objectives)
    front = front_of(
        [
            MeasuredTrial(row.number, row.measures)
            for row in rows
            if row.state == "complete" and row.keeps_bounds
        ],
        objectives,
    )
    measured = {} if seeds is None else _measured_again(front, rows, seeds, params)
    asked = params.tune.seeds
    repeated = {
        number: _over_seeds(found)
        for number, found in measured.items()
        if asked and len(found) == asked
    }
    wanted = asked * len(front)
    missing = wanted - sum(map(len, measured.values()))
    chosen, why_none = None, ""
    try:
        eligible = front if missing else _eligible(front, repeated, params)
        chosen = choose(eligible, objectives, params.tune.rule).number
    except RhobetaError as error:
        why_none = str(error)
    return StudyResults(objectives, rows, front, repeated, chosen, why_none, wanted, missing)


def further_seeds(params: Params) -> range:
    """The seeds that each trial on the front is to be trained with, beside its own."""
    first = params.training.seed + 1
    return range(first, first + params.tune.seeds)


def as_csv(results: StudyResults) -> str:
    """All trials as a table."""
    paths = list(dict.fromkeys(path for row in results.rows for path in row.values))
    measures = list(dict.fromkeys(name for row in results.rows for name in row.measures))
    front = {trial.number for trial in results.front}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", "state", *paths, *measures, "keeps_bounds", "front", "chosen", "run", "note"]
    )
    for row in results.rows:
        writer.writerow(
            [
                row.number,
                row.state,
                *(_cell(row.values.get(path)) for path in paths),
                *(_cell(row.measures.get(name)) for name in measures),
                _cell(row.keeps_bounds) if row.state == "complete" else "",
                _cell(row.number in front),
                _cell(row.number == results.chosen),
                row.run_id,
                row.note,
            ]
        )
    return text.getvalue()


def front_table(results: StudyResults) -> str:
    """The front as aligned text, the chosen trial marked; means where all further seeds are."""
    if not results.front:
        return "no trial is on the front"
    paths = list(results.row(results.front[0].number).values)
    header = ["", "trial", *paths, *results.objectives]
    lines = [header]
    for trial in results.front:
        row = results.row(trial.number)
        mark = "->" if trial.number == results.chosen else ""
        cells = [mark, str(row.number), *(_short(row.values[path]) for path in paths)]
        for name in results.objectives:
            over = results.repeated.get(row.number, {}).get(name)
            cells.append(
                _short(row.measures[name])
                if over is None
                else f"{_short(over.mean)} ± {over.half:.2g}"
            )
        lines.append(cells)
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def _row(trial: FrozenTrial) -> TrialRow:
    note = trial.user_attrs.get(ERROR, "")
    if trial.state == TrialState.PRUNED:
        note = f"after epoch {trial.last_step}"
    return TrialRow(
        number=trial.number,
        state=state_of(trial),
        values=values_of(trial),
        measures=_measures(trial),
        keeps_bounds=all(excess <= 0 for excess in trial.constraints.values()),
        run_id=trial.user_attrs.get(RUN, ""),
        note=note,
    )


def _measured_again(
    front: list[MeasuredTrial], rows: list[TrialRow], seeds: Study, params: Params
) -> dict[int, list[Mapping[str, float]]]:
    """By trial on the front: the measures of its trainings with the seeds that are asked for."""
    asked = further_seeds(params)
    by_values: dict[str, dict[int, Mapping[str, float]]] = {}
    for trial in seeds.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        values = values_of(trial)
        seed = values.pop(SEED)
        if seed in asked:
            by_values.setdefault(_key(values), {})[seed] = _measures(trial)
    values_by_number = {row.number: row.values for row in rows}
    return {
        trial.number: list(by_values.get(_key(values_by_number[trial.number]), {}).values())
        for trial in front
    }


def _measures(trial: FrozenTrial) -> dict[str, float]:
    found = trial.user_attrs.get(MEASURES, {})
    return {current_metric(name): value for name, value in found.items()}


def _over_seeds(measured: list[Mapping[str, float]]) -> dict[str, Interval]:
    # What the rule alone asks for is measured only since it does.
    common = [name for name in measured[0] if all(name in measures for measures in measured)]
    return {name: interval_of([measures[name] for measures in measured]) for name in common}


def _eligible(
    front: list[MeasuredTrial], repeated: Mapping[int, Mapping[str, Interval]], params: Params
) -> list[MeasuredTrial]:
    """What the rule chooses from: the front, or where all was repeated the front of the means."""
    if not repeated:
        return front
    means = [
        MeasuredTrial(number, {name: over.mean for name, over in measures.items()})
        for number, measures in repeated.items()
    ]
    keeping = [
        mean
        for mean in means
        if all(bound.excess(mean.measures[bound.metric]) <= 0 for bound in params.tune.bounds)
    ]
    return front_of(keeping, params.tune.objectives)


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9g}"
    return "" if value is None else str(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
