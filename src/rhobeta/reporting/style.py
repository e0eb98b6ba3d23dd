"""The style of all figures: colour-blind safe, readable, and reproducible to the byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design", 2008.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
GREY, INK = "#9A9A9A", "#222222"
# The same hues, dark enough for words on white (contrast of 4.5 or more).
IN_WORDS = {
    BLUE: BLUE, ORANGE: "#8A5F00", GREEN: "#00684C", RED: "#A34A00", GREY: "#5F5F5F"
}  # fmt: skip
# Ten hues for classes: the eight of Okabe and Ito without black, and three told apart by lightness.
CLASS_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9",
    "#CC79A7", "#F0E442", "#5B3A8C", "#7A4B1E", "#6E6E6E",
)  # fmt: skip
SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"

_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "rhobeta",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style, without a display; other settings are restored afterwards."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.use("Agg")
        plt.style.use(_STYLE)
        yield


def save(figure: "Figure", path: Path, dpi: int) -> None:
    """Write the figure as PNG, whole or not at all, and close it."""
    import matplotlib.pyplot as plt

    with atomic_write(path) as partial:
        # matplotlib's version would change the bytes.
        figure.savefig(partial, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)
