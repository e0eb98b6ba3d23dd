"""The tables of a comparison: parameters that differ, and every metric, a column a group."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count, product
from string import ascii_uppercase

from rhobeta.lineage.runs import RunInfo
from rhobeta.metrics.confidence import interval_of
from rhobeta.tracking.view import CURVES, SECONDS

SEEDS = ("training.seed", "data.seed")

WITHOUT_EFFECT = ("runtime.", "visualize.", "tune.")
"""Sections whose parameters change no number that is compared."""

NONE = "-"

# Sections of metrics in the order of the table, and what comes first in a section.
_SECTIONS = (
    "test", "best", "sparse_probe", "few_labels", "denoising", "anomaly", "compression",
)  # fmt: skip
_FIRST = ("mse", "fvu", "psnr_db", "loss", "probe", "gini")

# Metrics of every epoch: the last value need not belong to the weights that were kept.
_OF_EPOCHS = (CURVES, "train/", "validation/", "learning_rate")
# Metrics of the validation split; all others are of the test split.
_OF_VALIDATION = ("best/", CURVES, "train/", "validation/")
_OF_THE_LOSS = ("penalty.kind", "penalty.rho", "penalty.beta", "training.pixel_loss")

# Metrics with a direction: more or less is better. A mean activation has none, and what PCA
# reaches is no property of the model.
_MORE = re.compile(
    r"\w+/(train_|validation_)?(gini|hoyer|psnr_db|probe|code_auroc(_at_[\d_]+)?)"
    r"|(sparse_probe|few_labels|denoising)/code_at_[\d.]+"
)
_LESS = re.compile(
    r"\w+/(train_|validation_)?(mse|fvu|loss|treves_rolls|dead_units|dead_share)"
    r"|compression/code_bits"
)


Value = Callable[[RunInfo], str]


@dataclass(frozen=True)
class SeedGroup:
    """A column of the comparison: one training, or several that differ in their seeds alone."""

    letter: str
    members: tuple[RunInfo, ...]

    @property
    def heading(self) -> str:
        """The letter, with the number of trainings if there are several."""
        n = len(self.members)
        return self.letter if n == 1 else f"{self.letter} (n={n})"


@dataclass(frozen=True)
class Line:
    """A row of a table: one cell a group, and whether it holds the best value."""

    name: str
    cells: tuple[str, ...]
    best: tuple[bool, ...]


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison and notes on them."""

    groups: list[SeedGroup]
    parameters: list[Line]
    metrics: list[Line]
    notes: list[str]


def grouped_by_seed(runs: Iterable[RunInfo]) -> list[SeedGroup]:
    """Trainings that differ in `training.seed` and `data.seed` alone, together; in order.

    All other parameters must be equal, except those of `WITHOUT_EFFECT`; and the data must be
    equal where `data.seed` is. Two trainings with the same seeds say nothing about the spread over
    seeds, so the second of them gets a column of its own.
    """
    columns: list[list[RunInfo]] = []
    for run in runs:
        column = next((column for column in columns if _belongs(run, column)), None)
        if column is None:
            columns.append([run])
        else:
            column.append(run)
    # A to Z, AA to ZZ, and so on.
    letters = (word for length in count(1) for word in product(ascii_uppercase, repeat=length))
    return [
        SeedGroup("".join(letter), tuple(members))
        for letter, members in zip(letters, columns, strict=False)
    ]


def compare_groups(groups: list[SeedGroup], *, everything: bool = False) -> Comparison:
    """The parameters that differ, the metrics, and what cannot be compared.

    With `everything`, parameters and metrics that are equal in all groups are in the tables too.
    """
    parameters, idle = _parameter_lines(groups, everything)
    metrics, folded, curves = _metric_lines(groups, everything)
    notes = []
    if alone := [group.letter for group in groups if not group.members[0].id]:
        notes.append(
            f"{', '.join(alone)}: no run in the store, compared by the parameters in the model file"
            " alone."
        )
    if not _agree(groups, _test_sha256):
        notes.append(
            "These were measured on different test splits: their test numbers cannot be compared,"
            " so no best value is marked."
        )
    elif not _agree(groups, _data_sha256):
        notes.append(
            "These were trained and validated on different splits, and tested on the same one: the"
            " test numbers can be compared, those of validation (best/) cannot."
        )
    if idle:
        notes.append(f"{idle} parameters of the machine and the figures differ too (--all).")
    if folded:
        notes.append(f"{folded} metrics have the same value in all (--all).")
    if curves:
        notes.append(f"{curves} metrics of the last epoch are left out (--all).")
    return Comparison(groups, parameters, metrics, notes)


def seeds_in_words(group: SeedGroup) -> str:
    """The seeds of a group's members, for example `training.seed 0, 1, 2`."""
    differing = [p for p in SEEDS if len({m.parameters.get(p) for m in group.members}) > 1]
    return "; ".join(f"{path} {_values(group, _parameter(path))}" for path in differing)


def direction_of(name: str) -> int:
    """1 if larger values of the metric are better, -1 if smaller ones are, 0 if not known."""
    return bool(_MORE.fullmatch(name)) - bool(_LESS.fullmatch(name))


def best_of(name: str, values: Sequence[Sequence[float]]) -> tuple[bool, ...]:
    """Which columns of a metric hold the best mean.

    None where no direction is known, all means are equal, or only one column has the metric.
    """
    means = [sum(column) / len(column) if column else math.nan for column in values]
    finite = [mean for mean in means if math.isfinite(mean)]
    direction = direction_of(name)
    if not direction or len(finite) < 2 or len(set(finite)) == 1:
        return (False,) * len(values)
    best = max(finite) if direction > 0 else min(finite)
    return tuple(mean == best for mean in means)


def cell_of(values: Sequence[float], members: int) -> str:
    """A metric of a group: its value, or mean and 95 % interval of the members that have it.

    Where fewer than all `members` have it, their number follows.
    """
    if not values:
        return NONE
    if min(values) == max(values):
        text = figure(values[0])
    else:
        over = interval_of(values)
        text = with_interval(over.mean, over.half)
    return text if len(values) == members else f"{text} (n={len(values)})"


def figure(value: float) -> str:
    """Whole numbers as they are, others with five significant digits."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.5g}"


def with_interval(mean: float, half: float) -> str:
    """A mean to the second significant digit of its interval: `0.0150 ± 0.0012`."""
    if not (math.isfinite(mean) and math.isfinite(half)) or half == 0:
        return f"{figure(mean)} ± {figure(half)}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    # Rounding may carry over: 0.0996 has its second digit at 0.10.
    decimals = max(0, 1 - math.floor(math.log10(float(f"{half:.{decimals}f}"))))
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def _belongs(run: RunInfo, column: Sequence[RunInfo]) -> bool:
    def seeds(one: RunInfo) -> list[str | None]:
        return [one.parameters.get(path) for path in SEEDS]

    return _without_seeds(run) == _without_seeds(column[0]) and all(
        seeds(run) != seeds(other)
        and (seeds(run)[1] != seeds(other)[1] or run.data_sha256 == other.data_sha256)
        for other in column
    )


def _without_seeds(run: RunInfo) -> dict[str, str]:
    return {
        path: value
        for path, value in run.parameters.items()
        if path not in SEEDS and not path.startswith(WITHOUT_EFFECT)
    }


def _parameter_lines(groups: list[SeedGroup], everything: bool) -> tuple[list[Line], int]:
    paths = dict.fromkeys(p for g in groups for run in g.members for p in run.parameters)
    values: dict[str, Value] = {path: _parameter(path) for path in paths}
    values |= {"data (SHA-256)": lambda run: _data_sha256(run)[:12], "code (commit)": _commit}
    lines, idle = [], 0
    for name, value_of in values.items():
        cells = tuple(_values(group, value_of) for group in groups)
        if len(set(cells)) > 1 and name.startswith(WITHOUT_EFFECT) and not everything:
            idle += 1
        elif len(set(cells)) > 1 or everything:
            lines.append(Line(name, cells, (False,) * len(groups)))
    return lines, idle


def _metric_lines(groups: list[SeedGroup], everything: bool) -> tuple[list[Line], int, int]:
    found = {name for group in groups for run in group.members for name in run.metrics}
    names = sorted((n for n in found if everything or not n.startswith(SECONDS)), key=_place)
    lines, folded, curves = [], 0, 0
    for name in names:
        if name.startswith(_OF_EPOCHS) and not everything:
            curves += 1
            continue
        values = [[run.metrics[name] for run in g.members if name in run.metrics] for g in groups]
        if len({v for column in values for v in column}) == 1 and all(values) and not everything:
            folded += 1
            continue
        cells = tuple(cell_of(v, len(g.members)) for v, g in zip(values, groups, strict=True))
        best = best_of(name, values) if _is_comparable(name, groups) else (False,) * len(groups)
        lines.append(Line(name, cells, best))
    return lines, folded, curves


def _is_comparable(name: str, groups: list[SeedGroup]) -> bool:
    of_validation = name.startswith(_OF_VALIDATION)
    if not _agree(groups, _data_sha256 if of_validation else _test_sha256):
        return False
    # The loss contains beta times the penalty.
    is_loss = name.endswith(("/loss", "_loss"))
    return not is_loss or all(_agree(groups, _parameter(p)) for p in _OF_THE_LOSS)


def _agree(groups: list[SeedGroup], value_of: Value) -> bool:
    return len({value_of(run) for group in groups for run in group.members} - {""}) <= 1


def _values(group: SeedGroup, value_of: Value) -> str:
    return ", ".join(sorted({value_of(run) or NONE for run in group.members}, key=_naturally))


def _parameter(path: str) -> Value:
    return lambda run: run.parameters.get(path, "")


def _commit(run: RunInfo) -> str:
    return f"{run.commit[:8]}{'+' * run.dirty}" if run.commit else ""


def _data_sha256(run: RunInfo) -> str:
    return run.data_sha256 or ""


def _test_sha256(run: RunInfo) -> str:
    return run.splits.get("evaluation", "")


def _place(name: str) -> tuple[object, ...]:
    section, _, rest = name.partition("/")
    return (
        _SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS),
        _naturally(section),
        _FIRST.index(rest) if rest in _FIRST else len(_FIRST),
        _naturally(rest),
    )


def _naturally(text: str) -> list[tuple[bool, float, str]]:
    # Numbers by their size, before words: `at_2` before `at_10`.
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [
        (not part[0].isdigit(), float(part) if part[0].isdigit() else 0.0, part)
        for part in parts
        if part
    ]
