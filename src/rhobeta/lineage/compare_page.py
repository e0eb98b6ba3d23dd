"""The page of a comparison: one HTML file that needs no other."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.errors import RhobetaError
from rhobeta.lineage.compare_figures import draw_curves, draw_longest_filters
from rhobeta.lineage.compare_subject import Group, Subject
from rhobeta.lineage.compare_table import Comparison, seeds_in_words
from rhobeta.lineage.run_artifacts import curves_of, model_of
from rhobeta.model.weights import SavedModel
from rhobeta.reporting.pages import png_source, render_template
from rhobeta.reporting.style import save, style
from rhobeta.tracking.store import Store
from rhobeta.utils.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rhobeta.lineage.run_artifacts import Curves

_DPI = 110

Models = Callable[[Subject], SavedModel]


@dataclass(frozen=True)
class Filters:
    """The decoder filters of one group's first training."""

    letter: str
    source: str
    """The picture, or empty."""
    words: str
    """How many they are and how long; where there is no picture, why."""


def write_page(comparison: Comparison, store: Store, path: Path) -> None:
    """Write the page, with curves from the store and filters from the runs' models."""
    curves = {
        group.letter: [curves_of(store, member) for member in group.members if member.run_id]
        for group in comparison.groups
    }
    page = render_comparison(comparison, curves, lambda subject: model_of(store, subject))
    write_text(path, page)


def render_comparison(
    comparison: Comparison, curves: "dict[str, list[Curves]]", models: Models
) -> str:
    """The page as HTML. `models` gives a subject's model, or raises `RhobetaError` with why not."""
    with style(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figure = draw_curves(curves)
        return render_template(
            "compare.html.j2",
            comparison=comparison,
            seeds={group.letter: seeds_in_words(group) for group in comparison.groups},
            curves="" if figure is None else _picture(figure, folder),
            filters=[_filters(group, models, folder) for group in comparison.groups],
            several=any(len(group.members) > 1 for group in comparison.groups),
        )


def _filters(group: Group, models: Models, folder: Path) -> Filters:
    try:
        figure, words = draw_longest_filters(models(group.members[0]).model)
    except RhobetaError as error:
        return Filters(group.letter, "", str(error).partition("\n")[0])
    return Filters(group.letter, _picture(figure, folder), words)


def _picture(figure: "Figure", folder: Path) -> str:
    path = folder / "figure.png"
    save(figure, path, _DPI)
    return png_source(path.read_bytes())
