"""`rhobeta compare`: the trainings that the words name, as text of 100 columns and as a page."""

import textwrap
from collections.abc import Sequence

from rhobeta.errors import RhobetaError
from rhobeta.lineage.comparison import (
    Comparison,
    Line,
    SeedGroup,
    compare_groups,
    grouped_by_seed,
    seeds_in_words,
)
from rhobeta.lineage.project import Project
from rhobeta.lineage.resolve import Reference, distinct, resolve, trainings
from rhobeta.lineage.runs import RunInfo
from rhobeta.tracking.store import open_store_to_read
from rhobeta.utils.terminal import one_line

WIDTH = 100

_NAME_WIDTH, _CELL_WIDTH, _GAP = 30, 24, 2


def compare(words: Sequence[str], project: Project, *, everything: bool, page: bool) -> None:
    """Print how the trainings that `words` name compare, and write the page.

    The store is only read. Raises `RhobetaError` as `select` does, before anything is written.
    """
    open_store_to_read(project.paths)
    groups = grouped_by_seed(select(words, project))
    comparison = compare_groups(groups, everything=everything)
    print(as_text(comparison), flush=True)
    if page:
        from rhobeta.lineage.comparison_page import write_page

        write_page(comparison, project)
        print(f"\n{project.paths.comparison}")


def select(words: Sequence[str], project: Project) -> list[RunInfo]:
    """The trainings that `words` name, in order; a word may name several.

    Runs of the same model count once: the newest that finished. Raises `RhobetaError` where a word
    is unknown or ambiguous, where two words name the same training, and where fewer than two
    trainings are left.
    """
    named: dict[str, str] = {}
    selected: list[RunInfo] = []
    for word in words:
        found = _runs_of(resolve(word, project), project)
        new = [run for run in found if _identity(run) not in named]
        if not new:
            raise RhobetaError(
                f"{word} names the same training as {named[_identity(found[0])]}:"
                f" {_in_words(found[0])}.\nLeave one of the two out, or name another."
            )
        named |= {_identity(run): word for run in new}
        selected += new
    if len(selected) < 2:
        raise RhobetaError(
            f"There is one training to compare: {_in_words(selected[0])}. Expected two or more.\n"
            "Name another run, experiment, commit or model file too."
        )
    return selected


def as_text(comparison: Comparison) -> str:
    """The groups, the two tables and the notes; columns that do not fit continue below."""
    groups = comparison.groups
    parts = ["\n".join(_shortened(line, WIDTH) for line in legend(groups))]
    if comparison.parameters:
        parts += _blocks("parameters that differ", groups, comparison.parameters)
    else:
        parts.append("No parameter differs.")
    if comparison.metrics:
        parts += _blocks("metrics", groups, comparison.metrics)
    notes = []
    if any(any(line.best) for line in comparison.metrics):
        notes.append("* best")
    if any(len(group.members) > 1 for group in groups):
        notes.append("± half of the 95 % interval of the mean over seeds (Student's t)")
    notes = [textwrap.fill(n, WIDTH, subsequent_indent="  ") for n in [*notes, *comparison.notes]]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def legend(groups: Sequence[SeedGroup]) -> list[str]:
    """One line a group: its letter, run and name, and what is unusual about it."""
    width = max(len(group.letter) for group in groups)
    lines = []
    for group in groups:
        first = group.members[0]
        facts = [] if first.dvc_experiment is None else [f"DVC experiment {first.dvc_experiment}"]
        facts += [] if first.status == "FINISHED" else [first.status.lower()]
        if len(group.members) > 1:
            facts = [f"{len(group.members)} runs: {seeds_in_words(group)}"]
        words = [first.id[:8] or "no run", first.name, *(f"[{fact}]" for fact in facts)]
        lines.append(one_line(f"{group.letter:{width}}  {'  '.join(words)}"))
    return lines


def _runs_of(reference: Reference, project: Project) -> list[RunInfo]:
    found = distinct(trainings(reference, project))
    if found:
        return found
    if (file := reference.file) is not None:
        parameters = {path: str(v) for path, v in file.description["parameters"].items()}
        data = str(file.description["data_sha256"])
        return [
            RunInfo(
                str(file.path), model_sha256=file.sha256, data_sha256=data, parameters=parameters
            )
        ]
    bring = f"git checkout {reference.name[:12]}"
    if reference.experiment is not None:
        bring = f"dvc exp apply {reference.experiment.name}"
    raise RhobetaError(
        f"No run in {project.place} belongs to the {reference.kind} {reference.name}: none was"
        f" trained there, nor does one have its model.\n`{bring}` and `dvc repro` make one."
    )


def _identity(run: RunInfo) -> str:
    return run.id or run.model_sha256 or run.name


def _in_words(run: RunInfo) -> str:
    return f"{f'run {run.id[:12]}' if run.id else 'a model without a run'} ({run.name})"


def _blocks(title: str, groups: Sequence[SeedGroup], lines: Sequence[Line]) -> list[str]:
    names = [title, *(_shortened(line.name, _NAME_WIDTH) for line in lines)]
    first = max(map(len, names))
    columns = [_column(group, lines, number) for number, group in enumerate(groups)]
    blocks = []
    while columns:
        room, fitting = WIDTH - first, 0
        while fitting < len(columns) and (room := room - _GAP - len(columns[fitting][0])) >= 0:
            fitting += 1
        shown, columns = columns[: max(1, fitting)], columns[max(1, fitting) :]
        rows = [
            (" " * _GAP).join([name.ljust(first), *cells]).rstrip()
            for name, *cells in zip(names, *shown, strict=True)
        ]
        blocks.append("\n".join([rows[0], "-" * max(map(len, rows)), *rows[1:]]))
    return blocks


def _column(group: SeedGroup, lines: Sequence[Line], number: int) -> list[str]:
    """The cells of a group, all of one width; a place of its own for the mark, if there is one."""
    marked = any(line.best[number] for line in lines)
    cells = [group.heading + " " * marked]
    for line in lines:
        mark = ("*" if line.best[number] else " ") * marked
        cells.append(_shortened(line.cells[number], _CELL_WIDTH) + mark)
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
