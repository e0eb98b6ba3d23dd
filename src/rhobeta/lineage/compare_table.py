"""The tables of a comparison: parameters that differ, and every metric, a column a group."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rhobeta.lineage.compare_subject import SEEDS, WITHOUT_EFFECT, Group, Subject
from rhobeta.metrics.confidence import interval_of

NONE = "-"

_DATA, _COMMIT = "data (SHA-256)", "code (commit)"

# Sections of metrics in the order of the table, and what stands first in a section.
_SECTIONS = (
    "test", "probe", "best", "sparse_probe", "few_labels", "denoising", "anomaly", "compression",
)  # fmt: skip
_FIRST = ("mse", "fvu", "psnr_db", "loss", "code_accuracy", "probe_accuracy", "gini")

# Metrics of every epoch: curves, whose last value need not be that of the weights that were kept.
_OF_EPOCHS = ("train/", "validation/", "learning_rate")

# Metrics of the validation split; all others are of the test split.
_OF_VALIDATION = ("best/", "train/", "validation/")

_OF_THE_LOSS = ("penalty.kind", "penalty.rho", "penalty.beta", "training.pixel_loss")

# Where more is better, and where less. What is left out has no better, such as a mean activation,
# or is no property of the model, such as what PCA reaches.
_MORE = re.compile(
    r"\w+/(gini|hoyer|psnr_db|code_accuracy|probe_accuracy|code_auroc(_at_[\d_]+)?)"
    r"|(sparse_probe|few_labels|denoising)/code_at_[\d.]+"
)
_LESS = re.compile(r"\w+/(mse|fvu|loss|treves_rolls|dead_units|dead_share)|compression/code_bits")


@dataclass(frozen=True)
class Line:
    """A row of a table: one cell a group, and whether it holds the best value."""

    name: str
    cells: tuple[str, ...]
    best: tuple[bool, ...]


@dataclass(frozen=True)
class Comparison:
    """What there is to say of some groups."""

    groups: list[Group]
    parameters: list[Line]
    metrics: list[Line]
    notes: list[str]


def compare_groups(groups: list[Group], *, everything: bool = False) -> Comparison:
    """The tables, and notes on what they leave out and on what cannot be compared.

    With `everything` they leave out nothing.
    """
    same_test = _agree(groups, lambda subject: subject.test_sha256)
    same_data = _agree(groups, lambda subject: subject.data_sha256)
    parameters, idle = _parameter_lines(groups, everything)
    metrics, folded, curves = _metric_lines(groups, everything)
    notes = []
    if alone := [group.letter for group in groups if not group.members[0].run_id]:
        notes.append(
            f"{', '.join(alone)}: no run in the store, compared by the parameters in the model file"
            " alone."
        )
    if not same_test:
        notes.append(
            "These were measured on different test images: their test numbers cannot be compared,"
            " so no best value is marked."
        )
    elif not same_data:
        notes.append(
            "These were trained and validated on different images, and tested on the same: the test"
            " numbers can be compared, those of validation (best/) cannot."
        )
    if idle:
        notes.append(f"{idle} parameters of the machine and the figures differ too (--all).")
    if folded:
        notes.append(f"{folded} metrics have the same value in all (--all).")
    if curves:
        notes.append(f"{curves} metrics of the last epoch are left out (--all).")
    return Comparison(groups, parameters, metrics, notes)


def _parameter_lines(groups: list[Group], everything: bool) -> tuple[list[Line], int]:
    paths = list(dict.fromkeys(p for g in groups for s in g.members for p in s.parameters))
    facts: dict[str, Callable[[Subject], str]] = {
        _DATA: lambda subject: subject.data_sha256[:12],
        _COMMIT: _commit,
    }
    lines, idle = [], 0
    for name in [*paths, *facts]:
        cells = tuple(_values(group, facts.get(name, _parameter(name))) for group in groups)
        if everything or len(set(cells)) > 1:
            if name.startswith(WITHOUT_EFFECT) and not everything:
                idle += 1
            else:
                lines.append(Line(name, cells, (False,) * len(groups)))
    return lines, idle


def _parameter(path: str) -> Callable[[Subject], str]:
    return lambda subject: subject.parameters.get(path, "")


def _commit(subject: Subject) -> str:
    return f"{subject.commit[:8]}{'+' * subject.dirty}"


def _values(group: Group, value_of: Callable[[Subject], str]) -> str:
    values = sorted({value_of(subject) or NONE for subject in group.members}, key=_naturally)
    return ", ".join(values)


def _metric_lines(groups: list[Group], everything: bool) -> tuple[list[Line], int, int]:
    names = sorted({n for g in groups for s in g.members for n in s.metrics}, key=_place)
    comparable = _comparable(groups)
    lines, folded, curves = [], 0, 0
    for name in names:
        if name.startswith(_OF_EPOCHS) and not everything:
            curves += 1
            continue
        values = [[s.metrics[name] for s in g.members if name in s.metrics] for g in groups]
        held = {value for column in values for value in column}
        if len(held) == 1 and all(values) and not everything:
            folded += 1
            continue
        cells = tuple(
            cell_of(column, len(group.members))
            for column, group in zip(values, groups, strict=True)
        )
        best = best_of(name, values) if comparable(name) else (False,) * len(groups)
        lines.append(Line(name, cells, best))
    return lines, folded, curves


def best_of(name: str, values: Sequence[Sequence[float]]) -> tuple[bool, ...]:
    """Which columns of a metric hold the best mean; none where no direction is known.

    None as well where all are the same, or only one column has the metric.
    """
    more, less = _MORE.fullmatch(name), _LESS.fullmatch(name)
    means = [sum(column) / len(column) if column else math.nan for column in values]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not (more or less) or len(finite) < 2 or len(set(finite)) == 1:
        return (False,) * len(values)
    best = max(finite) if more else min(finite)
    return tuple(mean == best for mean in means)


def cell_of(values: Sequence[float], members: int) -> str:
    """A metric of a group: its value, or mean and 95 % interval of those that have it.

    Where fewer than all `members` have it, their number stands behind.
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


def _comparable(groups: list[Group]) -> Callable[[str], bool]:
    same_test = _agree(groups, lambda subject: subject.test_sha256)
    same_data = _agree(groups, lambda subject: subject.data_sha256)
    # The loss holds beta times the penalty: losses with other penalties are other things.
    same_loss = all(_agree(groups, _parameter(path)) for path in _OF_THE_LOSS)

    def comparable(name: str) -> bool:
        same = same_data if name.startswith(_OF_VALIDATION) else same_test
        return same and (same_loss or not name.endswith("/loss"))

    return comparable


def _agree(groups: list[Group], value_of: Callable[[Subject], str]) -> bool:
    known = {value_of(subject) for group in groups for subject in group.members} - {""}
    return len(known) <= 1


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


def seeds_in_words(group: Group) -> str:
    """The seeds of a group's members, such as `training.seed 0, 1, 2`."""
    words = [
        f"{path} {_values(group, _parameter(path))}"
        for path in SEEDS
        if len({_parameter(path)(subject) for subject in group.members}) > 1
    ]
    return "; ".join(words)
