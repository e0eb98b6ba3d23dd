"""A comparison as text for the terminal, at most 100 columns wide."""

import textwrap
from collections.abc import Sequence

from rhobeta.lineage.compare_subject import Group
from rhobeta.lineage.compare_table import Comparison, Line, seeds_in_words

WIDTH = 100
_NAME_WIDTH = 30
_CELL_WIDTH = 24
_GAP = 2


def as_text(comparison: Comparison) -> str:
    """What each letter stands for, the two tables, and the notes.

    Where the columns do not fit beside each other, the rest of them follows below.
    """
    groups = comparison.groups
    parts = ["\n".join(_shortened(line, WIDTH) for line in legend(groups))]
    if comparison.parameters:
        parts += _blocks("parameters that differ", groups, comparison.parameters)
    else:
        parts.append("No parameter differs.")
    if comparison.metrics:
        parts += _blocks("metrics", groups, comparison.metrics)
    marks = any(any(line.best) for line in comparison.metrics)
    intervals = any(len(group.members) > 1 for group in groups)
    notes = [
        *["* best"] * marks,
        *["± half of the 95 % interval of the mean over seeds (Student's t)"] * intervals,
        *comparison.notes,
    ]
    wrapped = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes]
    return "\n\n".join([*parts, *(["\n".join(wrapped)] if wrapped else [])])


def legend(groups: Sequence[Group]) -> list[str]:
    """A line a group: its letter, its name and run, and what is unusual about it."""
    width = max(len(group.letter) for group in groups)
    lines = []
    for group in groups:
        first = group.members[0]
        facts = [
            f"DVC experiment {first.experiment}" * bool(first.experiment),
            first.status.lower() * (first.status != "FINISHED"),
        ]
        if len(group.members) > 1:
            facts = [f"{len(group.members)} runs: {seeds_in_words(group)}"]
        words = [first.run_id[:8] or "no run", first.name, *(f"[{fact}]" for fact in facts if fact)]
        lines.append(f"{group.letter:{width}}  {'  '.join(words)}")
    return lines


def _blocks(title: str, groups: Sequence[Group], lines: Sequence[Line]) -> list[str]:
    names = [_shortened(line.name, _NAME_WIDTH) for line in lines]
    first = max(map(len, [title, *names]))
    columns = [_column(group, lines, number) for number, group in enumerate(groups)]
    widths = [max(map(len, column)) for column in columns]
    blocks = []
    while columns:
        fitting = 1
        while (
            fitting < len(columns)
            and first + sum(widths[: fitting + 1]) + _GAP * (fitting + 1) <= WIDTH
        ):
            fitting += 1
        shown, columns = columns[:fitting], columns[fitting:]
        sizes, widths = widths[:fitting], widths[fitting:]
        rows = [
            (" " * _GAP)
            .join([name.ljust(first), *(c.rjust(w) for c, w in zip(cells, sizes, strict=True))])
            .rstrip()
            for name, cells in zip([title, *names], zip(*shown, strict=True), strict=True)
        ]
        blocks.append("\n".join([rows[0], "-" * max(map(len, rows)), *rows[1:]]))
    return blocks


def _column(group: Group, lines: Sequence[Line], number: int) -> list[str]:
    # A mark stands in a place of its own, so that numbers stay below each other.
    marks = any(line.best[number] for line in lines)
    cells = [_shortened(line.cells[number], _CELL_WIDTH) for line in lines]
    if not marks:
        return [group.heading, *cells]
    return [
        f"{group.heading} ",
        *(f"{c}{'*' if line.best[number] else ' '}" for c, line in zip(cells, lines, strict=True)),
    ]


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
