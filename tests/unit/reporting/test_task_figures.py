"""Figures of the tasks: they show the numbers of the metrics."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib import pyplot as plt

from helpers.task_samples import CORE_METRICS, CURVES, TASK_METRICS, with_tasks
from rhobeta.errors import RhobetaError
from rhobeta.reporting.style import BLUE, GREEN, GREY, IN_WORDS, ORANGE, RED, save, style
from rhobeta.reporting.task_figures import (
    draw_anomaly,
    draw_denoising,
    draw_few_labels,
    draw_rate_distortion,
    draw_sparse_probe,
    draw_tasks,
    read_curves,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_OF = {task: task for task in TASK_METRICS} | {"compression": "rate_distortion"}


@pytest.fixture(autouse=True)
def _figures_are_drawn_in_the_projects_style() -> Iterator[None]:
    with style():
        yield
        plt.close("all")


def figures(metrics: dict[str, dict[str, Any]]) -> "dict[str, Figure]":
    return draw_tasks(metrics, read_curves(CURVES, name="it"), units=64, pixels=784)


def points(axis: "Axes", colour: str) -> list[tuple[float, float]]:
    """All that is marked on an axis in a colour, from left to right, once each."""
    marked = {
        (float(x), float(y))
        for line in axis.lines
        if line.get_color() == colour and line.get_marker() != "None"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    return sorted(marked)


def names(axis: "Axes") -> dict[str, str]:
    """What is written beside an axis, by its colour."""
    return {text.get_text(): str(text.get_color()) for text in axis.texts}


def test_figures_are_drawn_for_scored_tasks() -> None:
    assert list(figures(with_tasks("denoising"))) == ["denoising"]
    assert draw_tasks(CORE_METRICS, {}, units=64, pixels=784) == {}


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
@pytest.mark.parametrize("task", FIGURE_OF)
def test_figure_words_do_not_meet_and_are_not_cut(task: str) -> None:
    ((name, figure),) = figures(with_tasks(task)).items()
    assert name == FIGURE_OF[task]
    figure.canvas.draw()
    (axis,) = figure.axes
    left, right = axis.get_xlim()
    ticks = [
        tick.label1 for tick in axis.xaxis.get_major_ticks() if left <= tick.get_loc() <= right
    ]
    words = [*axis.texts, *ticks, axis.xaxis.label, axis.yaxis.label]
    boxes = [word.get_window_extent() for word in words if word.get_text()]
    boxes.append(axis._left_title.get_window_extent())  # type: ignore[attr-defined]
    page = figure.bbox
    for box in boxes:
        assert box.x0 >= page.x0
        assert box.x1 <= page.x1
        assert box.y0 >= page.y0
        assert box.y1 <= page.y1
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_sparse_probe_figure_ends_with_all_units() -> None:
    section = TASK_METRICS["sparse_probe"]
    (axis,) = draw_sparse_probe(section, CORE_METRICS, units=64, pixels=784).axes
    end = axis.get_xticks()[-1]
    assert end > 10
    assert points(axis, BLUE) == [(1, 0.5512), (2, 0.7034), (10, 0.8946), (end, 0.9316)]
    assert points(axis, ORANGE) == [(1, 0.4411), (2, 0.7120), (10, 0.8643), (end, 0.9048)]
    assert points(axis, GREY) == [(1, 0.3602), (2, 0.5014), (10, 0.7811), (end, 0.9233)]
    assert axis.get_xscale() == "log"
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["1", "2", "10", "all: 64\n(784 pixels)"]
    assert names(axis) == {
        "code 93.2%": BLUE,
        "PCA 90.5%": IN_WORDS[ORANGE],
        "pixels 92.3%": IN_WORDS[GREY],
    }


def test_counts_without_room_are_drawn_without_a_number() -> None:
    counts = range(1, 41)
    section = {f"{coder}_at_{k}": k / 50 for coder in ("code", "pca", "pixels") for k in counts}
    (axis,) = draw_few_labels(section).axes
    assert len(points(axis, BLUE)) == 40
    named = [float(label.get_text()) for label in axis.get_xticklabels()]
    assert named[:3] == [1, 2, 3]
    assert 8 < len(named) < 20
    assert (np.diff(np.log(named)) >= np.log(40) * 0.06 - 1e-12).all()


def test_few_labels_figure() -> None:
    (axis,) = draw_few_labels(TASK_METRICS["few_labels"]).axes
    assert points(axis, BLUE) == [(10, 0.7712), (100, 0.8890), (1000, 0.9231)]
    assert points(axis, ORANGE) == [(10, 0.7391), (100, 0.8702), (1000, 0.9066)]
    assert points(axis, GREY) == [(10, 0.7304), (100, 0.8890), (1000, 0.9320)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["10", "100", "1,000"]
    assert set(names(axis)) == {"code 92.3%", "PCA 90.7%", "pixels 93.2%"}


def test_few_labels_figure_with_one_setting() -> None:
    (axis,) = draw_few_labels({"code_at_7": 0.5, "pca_at_7": 0.4, "pixels_at_7": 0.3}).axes
    assert points(axis, BLUE) == [(7, 0.5)]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["7"]


def test_denoising_figure() -> None:
    (axis,) = draw_denoising(TASK_METRICS["denoising"], 18.24).axes
    assert points(axis, BLUE) == [(0.1, 18.02), (0.3, 16.31), (0.5, 14.92)]
    assert points(axis, GREEN) == [(0.1, 22.91), (0.3, 17.14), (0.5, 14.83)]
    assert points(axis, GREY) == [(0.1, 20.41), (0.3, 12.2), (0.5, 9.31)]
    flat = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert [list(line.get_ydata()) for line in flat] == [[18.24, 18.24]]
    assert set(names(axis)) == {
        "code 14.9 dB",
        "Wiener filter 14.8 dB",
        "noisy image 9.3 dB",
        "code, clean images 18.2 dB",
    }


def test_denoising_figure_without_an_error() -> None:
    section = TASK_METRICS["denoising"] | {"code_at_0.1": None, "code_at_0.5": None}
    (axis,) = draw_denoising(section, None).axes
    assert points(axis, BLUE)[1] == (0.3, 16.31)
    assert set(names(axis)) == {"Wiener filter 14.8 dB", "noisy image 9.3 dB"}


def test_anomaly_figure() -> None:
    section = {"code_auroc": 0.8, "pca_auroc": 0.7, "code_auroc_at_3": 0.9, "pca_auroc_at_3": 0.6}
    section |= {"code_auroc_at_5": 0.7, "pca_auroc_at_5": 0.8}
    (axis,) = draw_anomaly(section).axes
    assert points(axis, BLUE) == [(0, 0.9), (1, 0.7)]
    assert points(axis, ORANGE) == [(0, 0.6), (1, 0.8)]
    joined = [sorted(segment[:, 1]) for segment in axis.collections[0].get_segments()]
    assert joined == [[0.6, 0.9], [0.7, 0.8]]
    means = {
        line.get_color(): line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"
    }
    assert means == {BLUE: 0.8, ORANGE: 0.7}
    assert [label.get_text() for label in axis.get_xticklabels()] == ["3", "5"]
    assert set(names(axis)) == {"code, mean 0.800", "PCA, mean 0.700"}


def test_anomaly_figure_with_classes_known_together() -> None:
    section = {
        "code_auroc": 0.8,
        "pca_auroc": 0.7,
        "code_auroc_at_1_3": 0.8,
        "pca_auroc_at_1_3": 0.7,
    }
    (axis,) = draw_anomaly(section).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1 and 3"]
    assert set(names(axis)) == {"code, 0.800", "PCA, 0.700"}


def legend(axis: "Axes") -> list[str]:
    found = axis.get_legend()
    assert found is not None
    return [found.get_title().get_text(), *(text.get_text() for text in found.get_texts())]


def test_rate_distortion_figure() -> None:
    point = {"code_bits": 106.2, "mse": 0.015455, "pca_bits": 1234.4, "jpeg_bits": None}
    (axis,) = draw_rate_distortion(read_curves(CURVES, name="it"), point).axes
    code = [(0, 0.0799), (10.5, 0.0469), (106.2, 0.015455), (249.9, 0.01519)]
    pca = [(0.0385, 0.0644), (83.3, 0.0144), (361.2, 0.0082), (1234.4, 0.015455)]
    assert points(axis, BLUE) == code
    assert points(axis, ORANGE) == sorted(pca)
    assert points(axis, RED) == [(305.9, 0.0129), (3469, 0.0000214)]
    (star,) = (line for line in axis.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (106.2, 0.015455)
    assert axis.get_yscale() == "log"
    assert legend(axis) == [
        "at an MSE of 0.0155 (dotted)",
        "code: 106 bits",
        "PCA: 1,234 bits",
        "JPEG: not reached",
    ]


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
def test_rate_distortion_figure_with_a_code_of_zero_bits(tmp_path: Path) -> None:
    curves = {"code": [(0.0, 0.07)], "pca": [(0.0, 0.07)], "jpeg": []}
    point = {"code_bits": 0.0, "mse": 0.07, "pca_bits": 0.0, "jpeg_bits": None}
    save(draw_rate_distortion(curves, point), tmp_path / "figure.png", 40)


def test_read_curves_of_an_empty_table() -> None:
    assert read_curves("coder,bits,mse\n", name="it") == {"code": [], "pca": [], "jpeg": []}


@pytest.mark.parametrize(
    "text",
    [CURVES.replace("pca", "pcx"), CURVES.replace("0.0799", "oops"), CURVES.replace(",0.0799", "")],
    ids=["another coder", "a word", "a hole"],
)
def test_read_curves_refuses_other_tables(text: str) -> None:
    with pytest.raises(RhobetaError, match=r"rate_distortion\.csv"):
        read_curves(text, name="rate_distortion.csv")


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.52, 0.5], [0.56, 0.46]),
        ([0.5, 0.55, 0.62], [0.45667, 0.55667, 0.65667]),
        # The upper two part, and so meet the lower one.
        ([0.3, 0.41, 0.41], [0.27333, 0.37333, 0.47333]),
        ([0.7], [0.7]),
    ],
)
def test_spread_moves_heights_as_little_as_possible(
    heights: list[float], expected: list[float]
) -> None:
    assert spread(heights, gap=0.1) == pytest.approx(expected, abs=1e-5)
