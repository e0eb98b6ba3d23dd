"""Figures, cards and pages of rows that are not images."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt

from helpers.pages import Page
from helpers.task_samples import VECTOR_METRICS
from rhobeta.data.samples import Samples
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.metrics.units import exciting_rows
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import (
    ModelDescription,
    SavedModel,
    model_from_bytes,
    model_to_bytes,
)
from rhobeta.reporting.codes import draw_embedding, point_groups
from rhobeta.reporting.dashboard import render_dashboard, unit_cards, unit_features
from rhobeta.reporting.hover import spots_of
from rhobeta.reporting.report import FIGURES, Picture, render_report
from rhobeta.reporting.style import style
from rhobeta.reporting.vectors import (
    draw_decoder_weights,
    draw_feature_errors,
    draw_rows,
    largest_features,
)
from rhobeta.reporting.words import TestSamples

NAMES = ["width", "height", "mass", "age"]
# Three units on five rows; unit 2 never fires.
ACTIVITY = np.array(
    [[0.9, 0.2, 0], [0.0, 0.8, 0], [0.5, 0.0, 0], [0.0, 0.0, 0], [0.7, 0.9, 0]], np.float32
)


@pytest.fixture(autouse=True)
def _figures_are_drawn_in_the_projects_style() -> Iterator[None]:
    with style():
        yield
        plt.close("all")


def rows(**changes: Any) -> TestSamples:
    """Five rows of four features, the last being constant, unlike by at most a factor of 2."""
    values = np.random.default_rng(0).normal(5, [1, 2, 1, 0], (5, 4)).astype(np.float32)
    return TestSamples(**{"samples": Samples(values, None), "feature_names": NAMES} | changes)


def record(test: TestSamples) -> TestRecord:
    examples = np.array([0, 2, 4])
    return TestRecord(
        activity=ACTIVITY,
        examples=examples,
        reconstructions=test.samples.values[examples] + np.float32(0.5),
        feature_mse=np.array([0.25, 0.5, 1.0, 0.125]),
        l0_counts=np.array([1, 2, 2, 0]),
        l0_threshold=np.array([0.1]),
        top_units=np.array([0, 1, 2]),
        top_rows=exciting_rows(ACTIVITY, threshold=0.1),
    )


def without_code(page: str) -> str:
    return re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)


def saved_model() -> SavedModel:
    architecture = Architecture((4,), (3,), "relu", "relu", "identity")
    parameters = {
        "data.name": "own",
        "model.code_activation": "relu",
        "penalty.kind": "l1_code",
        "penalty.rho": 0.1,
        "penalty.beta": 0.01,
        "training.epochs": 3,
        "training.pixel_loss": "mse",
    }
    described = ModelDescription(architecture, parameters, "cd" * 32, best_epoch=1, best_loss=0.1)
    return model_from_bytes(model_to_bytes(Autoencoder(architecture), described), name="it")


def test_largest_features_by_hand() -> None:
    found = largest_features(np.array([0.5, -2.0, 0.0, 1.0], np.float32), rows(), count=3)
    assert found == [("height", -2.0, -100), ("age", 1.0, 50), ("width", 0.5, 25)]
    few = largest_features(
        np.array([0.5, -2.0, 0.0, 0.0], np.float32), rows(feature_names=None), count=3
    )
    assert [weight.name for weight in few] == ["feature 1", "feature 0"]


def test_features_of_unlike_spread_are_shown_in_standard_deviations() -> None:
    assert rows().scales is None
    values = rows().samples.values * np.array([1, 1, 1000, 1], np.float32)
    unlike = rows(samples=Samples(values, None))
    assert unlike.scales is not None
    spreads = values.std(0, dtype=float)
    np.testing.assert_allclose(unlike.scales, [*spreads[:3], 1])
    shown = draw_rows(unlike, record(unlike)).axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(shown, (values[0] - values.mean(0)) / unlike.scales, atol=1e-4)


def test_rows_figure_shows_originals_and_reconstructions() -> None:
    test = rows()
    figure = draw_rows(test, record(test))
    shown = [axis for axis in figure.axes if axis.lines]
    assert [axis.get_title(loc="left") for axis in shown] == ["row 0", "row 2", "row 4"]
    for axis, row in zip(shown, (0, 2, 4), strict=True):
        original, rebuilt = (line.get_ydata() for line in axis.lines)
        np.testing.assert_array_equal(original, test.samples.values[row])
        np.testing.assert_array_equal(rebuilt, test.samples.values[row] + np.float32(0.5))
    figure.draw_without_rendering()
    texts = [spot.text for spot in spots_of(figure)]
    assert f"original, mass: {test.samples.values[0, 2]:.4g}" in texts


def test_feature_errors_figure_is_the_share_of_the_variance() -> None:
    test = rows()
    (axis,) = draw_feature_errors(test, record(test)).axes
    heights = [bar.get_height() for bar in axis.patches]
    variances = test.samples.values.var(0, dtype=float)
    assert heights[:3] == pytest.approx(np.array([0.25, 0.5, 1]) / variances[:3])
    # A constant feature has no share.
    assert np.isnan(heights[3])
    assert [label.get_text() for label in axis.get_xticklabels()] == NAMES
    assert axis.get_yscale() == "linear"
    far = TestRecord(**vars(record(test)) | {"feature_mse": np.full(4, 500.0)})
    assert draw_feature_errors(test, far).axes[0].get_yscale() == "log"


def test_decoder_weights_figure_scales_each_unit_by_itself() -> None:
    weights = np.array([[1.0, 0, 0, -4], [0, 0, 0, 0], [0, 2, 1, 0]], np.float32)
    axis = draw_decoder_weights(weights, np.array([2, 0, 1]), rows()).axes[0]
    shown = np.asarray(axis.images[0].get_array())
    np.testing.assert_array_equal(shown, [[0, 1, 0.5, 0], [0.25, 0, 0, -1], [0, 0, 0, 0]])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["2", "0", "1"]


@pytest.mark.parametrize("names", [None, [f"{place} nm" for place in range(400, 440)]])
def test_figures_of_many_features(names: list[str] | None) -> None:
    values = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    test = rows(samples=Samples(values, None), feature_names=names)
    of_all = TestRecord(
        **vars(record(test))
        | {"reconstructions": values[[0, 2, 4]], "feature_mse": np.full(40, 0.5)}
    )
    for figure in (
        draw_rows(test, of_all),
        draw_feature_errors(test, of_all),
        draw_decoder_weights(np.ones((3, 40), np.float32), np.arange(3), test),
    ):
        figure.draw_without_rendering()
        assert len(figure.axes[0].get_xticks()) < 12


def test_points_without_labels_are_named_by_their_most_active_unit() -> None:
    groups = point_groups(ACTIVITY, rows())
    assert groups.numbers.tolist() == [0, 1, 0, -1, 1]
    assert groups.names == {0: "0", 1: "1"}
    assert groups.texts[1:4] == [
        *("row 1, most active unit 1", "row 2, most active unit 0", "row 3, no unit"),
    ]
    figure = draw_embedding(np.eye(5)[:, :2], groups, "PCA", rows().words)
    figure.draw_without_rendering()
    texts = [spot.text for spot in spots_of(figure)]
    assert texts == [groups.texts[row] for row in groups.order]
    assert "each point is a row" in figure.axes[0].get_xlabel()


def test_cards_of_rows_without_labels() -> None:
    test = rows()
    weights = np.array([[1.0, 0, 0, -4], [0, 3, 1, 0], [0, 2, 1, 0]], np.float32)
    first, second, inactive = unit_cards(weights, record(test), test, count=3)
    assert first.classes is None
    assert [weight.name for weight in first.features] == ["age", "width"]
    assert [(link.row, round(link.activity, 3)) for link in first.rows] == [
        *((0, 0.9), (4, 0.7), (2, 0.5)),
    ]
    assert [link.row for link in second.rows] == [4, 1, 0]
    assert (inactive.rows, inactive.fired, inactive.images) == ([], 0, "")


def test_dashboard_of_rows_without_labels_says_rows() -> None:
    page = Page(without_code(render_dashboard(saved_model(), record(rows()), rows(), count=3)))
    assert "measured on 5 test rows" in page.text
    assert re.findall(r"Unit (\d)\s", page.text) == ["0", "1", "2"]
    assert "No test row excites it above 0.1." in page.text
    assert [word for word in ("image", "class", "ink") if word in page.text] == []
    assert page.values("data-words")[0].startswith("unit 0 ")
    assert all(name in page.text for name in NAMES)
    assert page.is_self_contained()


def test_dashboard_of_rows_with_labels_names_their_classes() -> None:
    labels = np.array([0, 1, 0, 1, 1], np.uint8)
    test = rows(samples=Samples(rows().samples.values, labels), class_names=["cat", "dog"])
    page = Page(render_dashboard(saved_model(), record(test), test, count=3))
    assert page.values("id", "h2") == ["class-0", "class-1", "inactive"]
    assert "Class cat" in page.text
    assert "unit 0 class cat" in page.values("data-words")[0]


def test_report_of_rows_without_labels_says_rows(tmp_path: Any) -> None:
    names = {*FIGURES} - {"sparse_probe", "few_labels", "denoising", "anomaly", "class_code"}
    (tmp_path / "it.png").write_bytes(b"\x89PNG")
    pictures = {name: Picture(tmp_path / "it.png") for name in FIGURES if name in names}
    units = unit_features(saved_model(), record(rows()), rows())
    report = render_report(saved_model(), VECTOR_METRICS, pictures, units=units)
    page = Page(without_code(report))
    text = page.text.replace("Rows are not images", "").replace("training.pixel_loss", "")
    assert [word for word in ("image", "pixel", "JPEG need") if word in text] == []
    assert "The data has no labels" in text
    assert "mean over rows of sum over units" in text
    assert [row[0] for row in page.rows if row and row[0].startswith("FVU")] == [
        "FVU against the mean row",
        "FVU against PCA of the same size",
        "FVU against PCA of 3 components, as many as active units",
    ]
    anchors = [link.removeprefix("#") for link in page.values("href")[1:]]
    assert anchors == page.values("id", "h2")
    # A line for each unit that fires, with its features.
    assert [row[0] for row in page.rows if len(row) == 3] == ["Unit", "0", "1"]
