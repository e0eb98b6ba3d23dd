"""What a study has found: its trials as rows, its front with repeats, the chosen trial."""

import csv
import io
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from rhobeta.config.params import Params
from rhobeta.config.renamed import current_metric
from rhobeta.config.search import SEED, TuneParams
from rhobeta.errors import RhobetaError
from rhobeta.metrics.confidence import Interval, interval_of
from rhobeta.tuning.choice import TrialRow, choose, front_of
from rhobeta.tuning.space import values_of
from rhobeta.tuning.study import ERROR, MEASURES, RUN, state_of

_LARGEST = sys.float_info.max
_RUN_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class StudyResults:
    """What a study has found so far."""

    objectives: dict[str, str]
    rows: list[TrialRow]
    front: list[TrialRow]
    """As trained in the search, each trial once."""
    repeated: dict[int, dict[str, Interval]] = field(default_factory=dict)
    """By trial on the front: each measure over the further seeds; empty while any is missing."""
    chosen: int | None = None
    why_none: str = ""
    """Where nothing is chosen: why."""
    shortfall: str = ""
    """How many trainings with further seeds are missing, and what follows; empty if none is."""

    def row(self, number: int) -> TrialRow:
        """The trial of that number."""
        return next(row for row in self.rows if row.number == number)

    @property
    def invalid(self) -> list[TrialRow]:
        """Complete trials that do not belong to this search, each with the reason as its note."""
        return [row for row in self.rows if row.state == "invalid"]

    @property
    def complete(self) -> list[TrialRow]:
        """The trials that were trained to the end."""
        return [row for row in self.rows if row.state == "complete"]


def read_results(study: Study, seeds: Study | None, params: Params) -> StudyResults:
    """Read a study, and the one that repeats its front, where there is one.

    The choice is by the means over the further seeds once each trial on the front has all that
    `tune.seeds` asks for; until then it is by the front as searched.
    """
    rows = [_row(trial, params) for trial in study.get_trials(deepcopy=False)]
    objectives: dict[str, str] = dict(params.tune.objectives)
    complete = [row for row in rows if row.state == "complete" and row.keeps_bounds]
    front = front_of(complete, objectives)
    again = {} if seeds is None else _measured_again(front, seeds, params)
    wanted = params.tune.seeds * len(front)
    missing = wanted - sum(map(len, again.values()))
    repeated: dict[int, dict[str, Interval]] = {}
    shortfall = ""
    if missing:
        shortfall = (
            f"{missing} of {wanted} trainings with further seeds (tune.seeds) are missing, not run"
            " yet or failed: the choice is by the front as searched, not by means."
        )
    elif params.tune.seeds:
        repeated = {number: _over_seeds(found) for number, found in again.items()}
    chosen, why_none = None, ""
    try:
        chosen = choose(_eligible(front, repeated, params), objectives, params.tune.rule).number
    except RhobetaError as error:
        why_none = str(error)
    return StudyResults(objectives, rows, front, repeated, chosen, why_none, shortfall)


def further_seeds(params: Params) -> range:
    """The seeds that each trial on the front is to be trained with, beside its own."""
    first = params.training.seed + 1
    return range(first, first + params.tune.seeds)


def as_csv(results: StudyResults) -> str:
    """All trials as a table."""
    front = {trial.number for trial in results.front}
    table = [
        {
            "trial": row.number,
            "state": row.state,
            "keeps_bounds": _yes(row.keeps_bounds) if row.state == "complete" else "",
            "front": _yes(row.number in front),
            "chosen": _yes(row.number == results.chosen),
            "run": row.run_id,
            "note": row.note,
            **row.values,
            **row.measures,
        }
        for row in results.rows
    ]
    text = io.StringIO()
    columns = dict.fromkeys(name for line in table for name in line)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def front_table(results: StudyResults) -> str:
    """The front as aligned text, the chosen trial marked, with means where there are any."""
    if not results.front:
        return "no trial is on the front"
    lines = [["", "trial", *results.front[0].values, *results.objectives]]
    for row in results.front:
        mark = "->" if row.number == results.chosen else ""
        means = results.repeated.get(row.number)
        measured = [
            f"{means[name].mean:.4g} ± {means[name].half:.2g}"
            if means
            else f"{row.measures[name]:.4g}"
            for name in results.objectives
        ]
        values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values.values()]
        lines.append([mark, str(row.number), *values, *measured])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def _row(trial: FrozenTrial, params: Params) -> TrialRow:
    """A trial as a row: `invalid` where it is complete, but not as a trial of this search is."""
    state, note = state_of(trial), str(trial.user_attrs.get(ERROR, ""))
    if state == "pruned":
        note = f"after epoch {trial.last_step}"
    run_id = str(trial.user_attrs.get(RUN, ""))
    row = TrialRow(
        number=trial.number,
        state=state,
        measures={},
        run_id=run_id if _RUN_ID.fullmatch(run_id) else "",
        note=note,
    )
    try:
        row = replace(row, values=values_of(trial, params, seed=False))
        if state != "complete":
            return row
        measures = _measures(trial, params.tune)
    except RhobetaError as error:
        return replace(row, state="invalid", note=str(error)) if state == "complete" else row
    keeps = all(bound.excess(measures[bound.metric]) <= 0 for bound in params.tune.bounds)
    return replace(row, measures=measures, keeps_bounds=keeps)


def _measured_again(
    front: list[TrialRow], seeds: Study, params: Params
) -> dict[int, list[Mapping[str, float]]]:
    """By trial on the front: the measures of its trainings with the seeds that are asked for."""
    asked = further_seeds(params)
    by_values: dict[str, dict[int, Mapping[str, float]]] = {}
    for trial in seeds.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        try:
            values, measures = values_of(trial, params, seed=True), _measures(trial, params.tune)
        except RhobetaError:
            continue
        seed = values.pop(SEED)
        if seed in asked:
            by_values.setdefault(_key(values), {})[seed] = measures
    return {row.number: list(by_values.get(_key(row.values), {}).values()) for row in front}


def _measures(trial: FrozenTrial, tune: TuneParams) -> dict[str, float]:
    """A complete trial's metrics. Raises `RhobetaError` where objectives or bounds lack theirs."""
    found = trial.user_attrs.get(MEASURES)
    found = found if isinstance(found, dict) else {}
    # A whole number may be too large for a float.
    measures = {
        current_metric(name): value
        for name, value in found.items()
        if isinstance(value, float) or (isinstance(value, int) and abs(value) <= _LARGEST)
    }
    for name in (*tune.objectives, *(bound.metric for bound in tune.bounds)):
        if not math.isfinite(measures.get(name, math.nan)):
            raise RhobetaError(f"trial {trial.number} has no number for {name}")
    return measures


def _over_seeds(measured: list[Mapping[str, float]]) -> dict[str, Interval]:
    # What the rule alone asks for is measured only since it does.
    common = [name for name in measured[0] if all(name in measures for measures in measured)]
    return {name: interval_of([measures[name] for measures in measured]) for name in common}


def _eligible(
    front: list[TrialRow], repeated: Mapping[int, Mapping[str, Interval]], params: Params
) -> list[TrialRow]:
    """What the rule chooses from: the front, or the front of the means where there are any."""
    if not repeated:
        return front
    means = [
        replace(row, measures={name: over.mean for name, over in repeated[row.number].items()})
        for row in front
    ]
    keeping = [
        row
        for row in means
        if all(bound.excess(row.measures[bound.metric]) <= 0 for bound in params.tune.bounds)
    ]
    return front_of(keeping, params.tune.objectives)


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
