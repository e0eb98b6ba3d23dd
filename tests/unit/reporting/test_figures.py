"""Figures: that they show what was measured, and are the same bytes each time."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba
from numpy.typing import NDArray
from torchvision.utils import make_grid

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.errors import RhobetaError
from rhobeta.metrics.encoding import encode_images
from rhobeta.metrics.evaluation import TestRecord, example_rows
from rhobeta.metrics.reconstruction import feature_mse
from rhobeta.metrics.units import most_active_units
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.reporting.codes import (
    draw_activity_distribution,
    draw_class_code,
    draw_embedding,
    draw_firing_rates,
    draw_unit_activity,
    embed,
    point_groups,
)
from rhobeta.reporting.curves import History, draw_learning_curves, read_history
from rhobeta.reporting.pictures import decoder_filters, draw_filters, draw_reconstructions, tiled
from rhobeta.reporting.style import BLUE, CLASS_COLOURS, GREY, ORANGE, RED, save, style
from rhobeta.reporting.task_figures import draw_anomaly
from rhobeta.reporting.words import TestSamples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 40
UNITS = 16


@pytest.fixture(autouse=True)
def _figures_are_drawn_in_the_projects_style() -> Iterator[None]:
    with style():
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    return Autoencoder(Architecture((28, 28), (UNITS,), "sigmoid", "relu", "sigmoid"), seed=2)


@pytest.fixture(scope="module")
def test(test_digits: Samples) -> TestSamples:
    return TestSamples(test_digits)


@pytest.fixture(scope="module")
def record(model: Autoencoder, test_digits: Samples) -> TestRecord:
    """What evaluate keeps, of an untrained model on real digits."""
    x = pixels_of(test_digits.values)
    encoded = encode_images(model, x)
    shown = example_rows(test_digits.labels, len(x))
    active = (encoded.activity > 0.5).sum(1)
    return TestRecord(
        activity=encoded.activity,
        examples=shown,
        reconstructions=encoded.reconstruction[shown],
        feature_mse=feature_mse(x, encoded.reconstruction),
        l0_counts=np.bincount(active, minlength=UNITS + 1),
        l0_threshold=np.array([0.5]),
        top_units=most_active_units(encoded.activity, count=UNITS),
        top_rows=np.zeros((UNITS, 9), np.int64),
    )


def history(penalty: float = 1.0) -> History:
    return {
        "epoch": [1.0, 2.0, 3.0],
        "train_loss": [0.3, 0.2, 0.1],
        "validation_loss": [0.35, 0.22, 0.15],
        "train_mse": [0.2, 0.1, 0.05],
        "validation_mse": [0.21, 0.12, 0.08],
        "train_penalty": [3 * penalty, 2 * penalty, penalty],
        "validation_penalty": [2.9 * penalty, 1.9 * penalty, penalty],
        "train_mean_activity": [0.5, 0.3, 0.1],
        "validation_rho_hat_mean": [0.45, 0.25, 0.11],
    }


Draw = Callable[[TestRecord, Autoencoder, TestSamples], "Figure"]
FIGURES: dict[str, Draw] = {
    "reconstructions": lambda r, m, t: draw_reconstructions(
        t.rows(r.examples), r.activity[r.examples], r.reconstructions.reshape(-1, 28, 28)
    ),
    "one reconstruction": lambda r, m, t: draw_reconstructions(
        t.rows(r.examples[:1]), r.activity[:1], r.reconstructions[:1].reshape(1, 28, 28)
    ),
    "filters": lambda r, m, t: draw_filters(decoder_filters(m), np.arange(UNITS)),
    "one filter": lambda r, m, t: draw_filters(decoder_filters(m), np.arange(1)),
    "two filters": lambda r, m, t: draw_filters(decoder_filters(m), np.arange(2)),
    "three filters": lambda r, m, t: draw_filters(decoder_filters(m), np.arange(3)),
    "unit activity": lambda r, m, t: draw_unit_activity(r.activity, 0.05),
    "unit activity without a target": lambda r, m, t: draw_unit_activity(r.activity, None),
    "activity": lambda r, m, t: draw_activity_distribution(r.activity, r.l0_counts, 0.5),
    "firing rates": lambda r, m, t: draw_firing_rates(r.activity, 0.5),
    "class code": lambda r, m, t: draw_class_code(r.activity, t.samples.require_labels()),
    "embedding": lambda r, m, t: draw_embedding(
        embed(r.activity, "pca"), point_groups(r.activity, t), "PCA"
    ),
    "learning curves": lambda r, m, t: draw_learning_curves(history(), 2, 0.05),
    "learning curves with beta": lambda r, m, t: draw_learning_curves(
        history() | {"beta": [0.001, 0.01, 0.005]}, 2, None
    ),
    "learning curves without a penalty": lambda r, m, t: draw_learning_curves(history(0), 3, None),
}


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_a_picture_of_a_sensible_size(
    name: str, record: TestRecord, model: Autoencoder, test: TestSamples, tmp_path: Path
) -> None:
    save(FIGURES[name](record, model, test), tmp_path / "figure.png", DPI)
    picture = plt.imread(tmp_path / "figure.png")
    height, width = picture.shape[:2]
    assert 1 * DPI < height < 12 * DPI
    assert 1.5 * DPI < width < 20 * DPI
    assert picture[..., :3].std() > 0.03


def test_save_makes_the_folder_and_closes_the_figure(tmp_path: Path) -> None:
    figure = plt.figure(figsize=(3, 2))
    save(figure, tmp_path / "new" / "figure.png", 50)
    assert plt.imread(tmp_path / "new" / "figure.png").shape[:2] == (100, 150)
    assert plt.get_fignums() == []


def test_style_restores_other_settings() -> None:
    with mpl.rc_context({"font.size": 31}):
        with style():
            assert mpl.rcParams["font.size"] == 10
        assert mpl.rcParams["font.size"] == 31


def test_figure_bytes_do_not_depend_on_the_users_style(
    record: TestRecord, model: Autoencoder, tmp_path: Path
) -> None:
    save(draw_unit_activity(record.activity, 0.05), tmp_path / "plain.png", DPI)
    with mpl.rc_context({"axes.facecolor": "black", "savefig.facecolor": "red"}), style():
        save(draw_unit_activity(record.activity, 0.05), tmp_path / "styled.png", DPI)
    content = (tmp_path / "plain.png").read_bytes()
    assert content == (tmp_path / "styled.png").read_bytes()
    assert b"Software" not in content


def labelled(labels: NDArray[np.uint8]) -> TestSamples:
    return TestSamples(Samples(np.zeros((len(labels), 2, 2), np.uint8), labels))


@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_figures_of_a_constant_code(level: float, tmp_path: Path) -> None:
    activity = np.full((20, 4), level, np.float32)
    labels = np.repeat([0, 1], 10).astype(np.uint8)
    images = np.full((2, 5, 5), level, np.float32)
    l0_counts = np.array([20, 0, 0, 0, 0] if level == 0 else [0, 0, 0, 0, 20])
    for figure in (
        draw_unit_activity(activity, None),
        draw_firing_rates(activity, 0.5),
        draw_activity_distribution(activity, l0_counts, 0.1),
        draw_class_code(activity, labels),
        draw_embedding(np.zeros((20, 2)), point_groups(activity, labelled(labels)), "PCA"),
        draw_reconstructions(images, activity[:2], images),
    ):
        save(figure, tmp_path / "figure.png", DPI)


def levels(axis: object, colour: str, *, upright: bool = False) -> list[float]:
    """Where an axis has straight lines of a colour from side to side."""
    return [
        line.get_xdata()[0] if upright else line.get_ydata()[0]
        for line in axis.lines  # type: ignore[attr-defined]
        if line.get_color() == colour and len(line.get_xdata()) == 2
    ]


@pytest.mark.parametrize("rho", [0.05, None])
def test_unit_activity_figure(rho: float | None, record: TestRecord) -> None:
    (axis,) = draw_unit_activity(record.activity, rho).axes
    means = record.activity.mean(0, dtype=np.float64)
    heights = [bar.get_height() for bar in axis.patches]
    assert heights == pytest.approx(sorted(means, reverse=True))
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axis.patches]
    assert centres == pytest.approx(range(1, UNITS + 1))
    assert levels(axis, RED) == ([] if rho is None else [rho])
    assert levels(axis, ORANGE) == [pytest.approx(means.mean())]


def test_activity_distribution_figure(record: TestRecord) -> None:
    left, right = draw_activity_distribution(record.activity, record.l0_counts, 0.5).axes
    (steps,) = left.patches
    shares, edges, _ = steps.get_data()
    assert shares.sum() == pytest.approx(1)
    assert edges[[0, -1]].tolist() == [0, 1]
    below = record.activity < 0.5
    assert shares[:25].sum() == pytest.approx(below.mean())
    assert levels(left, RED, upright=True) == [0.5]
    assert [bar.get_height() for bar in right.patches] == record.l0_counts.tolist()
    mean = (record.activity > 0.5).sum(1).mean()
    assert levels(right, ORANGE, upright=True) == [pytest.approx(mean)]


def test_activity_distribution_figure_above_one() -> None:
    activity = np.array([[0.0, 3.0], [0.5, 4.0]], np.float32)
    left, _ = draw_activity_distribution(activity, np.array([0, 2, 0]), 0.6).axes
    shares, edges, _ = left.patches[0].get_data()
    assert edges[-1] == 4
    assert shares.sum() == pytest.approx(1)


def test_class_code_figure_groups_units_by_class() -> None:
    # Unit 0 is for class 7, units 1 and 2 for class 3, unit 3 for class 7 and stronger.
    activity = np.array(
        [[0.3, 0.0, 0.2, 0.8], [0.1, 0.5, 0.9, 0.0], [0.5, 0.2, 0.2, 1.0]], np.float32
    )
    axis = draw_class_code(activity, np.array([7, 3, 7], np.uint8)).axes[0]
    shown = np.asarray(axis.images[0].get_array())
    expected = [[0.9, 0.5, 0.0, 0.1], [0.2, 0.1, 0.9, 0.4]]
    np.testing.assert_allclose(shown, expected, atol=1e-7)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["3", "7"]


@pytest.mark.parametrize("classes", [2, 62, 100])
def test_class_names_do_not_overlap(classes: int) -> None:
    labels = np.arange(classes, dtype=np.uint8)
    activity = np.random.default_rng(0).random((classes, 8), dtype=np.float32)
    scores = {f"{name}_auroc": 0.5 for name in ("code", "pca")}
    scores |= {f"{name}_auroc_at_{c}": c / 256 for name in ("code", "pca") for c in labels}
    for figure, direction in (
        (draw_class_code(activity, labels), "y"),
        (draw_anomaly(scores), "x"),
    ):
        figure.canvas.draw()
        axis = getattr(figure.axes[0], f"{direction}axis")
        boxes = [text.get_window_extent() for text in axis.get_ticklabels()]
        edges = sorted((getattr(b, f"{direction}0"), getattr(b, f"{direction}1")) for b in boxes)
        assert min(classes, 20) <= len(edges) <= classes
        assert all(end < start for (_, end), (start, _) in pairwise(edges))
        assert max(figure.get_size_inches()) < 10


def test_reconstructions_figure_of_many_classes_shows_twelve() -> None:
    images = np.repeat(np.linspace(0, 1, 62, dtype=np.float32), 4).reshape(62, 2, 2)
    figure = draw_reconstructions(images, images.reshape(62, 4), images)
    assert figure.axes[0].get_title(loc="left") == "Original, 12 of 62 classes"
    shown = np.asarray(figure.axes[0].images[0].get_array())[1, 1::3]
    assert len(shown) == 12
    np.testing.assert_array_equal(shown[[0, -1]], [0, 1])
    assert figure.get_size_inches()[0] < 12


def test_embedding_figure_names_each_class_at_its_median() -> None:
    points = np.array([[0.0, 0], [1, 1], [10, 2], [5, 5], [6, 7]])
    test = labelled(np.array([4, 4, 4, 9, 9], np.uint8))
    (axis,) = draw_embedding(points, point_groups(np.ones((5, 1), np.float32), test), "PCA").axes
    assert [text.get_text() for text in axis.texts] == ["4", "9"]
    places = [text.xy for text in axis.texts]
    np.testing.assert_allclose(places, [[1, 1], [5.5, 6]])
    of_four, of_nine = axis.collections
    np.testing.assert_allclose(of_four.get_offsets(), points[:3])
    np.testing.assert_allclose(of_nine.get_offsets(), points[3:])
    assert of_four.get_facecolor()[0, :3].tolist() == list(to_rgba(CLASS_COLOURS[0])[:3])
    assert of_nine.get_facecolor()[0, :3].tolist() == list(to_rgba(CLASS_COLOURS[1])[:3])


def test_embed_by_pca_is_the_first_two_axes(record: TestRecord) -> None:
    points = embed(record.activity, "pca")
    centred = record.activity - record.activity.mean(0, dtype=np.float64)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), rtol=1e-6, atol=1e-8)


def test_embed_by_tsne_keeps_clusters_apart() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    codes = (random.normal(size=(40, 5)) + 50 * labels[:, None]).astype(np.float32)
    points = embed(codes, "tsne")
    assert points.shape == (40, 2)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(1)] == labels).all()


def test_embed_by_tsne_is_repeatable() -> None:
    # So many units that its first layout is drawn by a randomised method.
    codes = np.random.default_rng(0).random((40, 600), dtype=np.float32)
    np.testing.assert_array_equal(embed(codes, "tsne"), embed(codes, "tsne"))


@pytest.mark.parametrize("how", ["pca", "tsne"])
def test_embed_a_code_of_one_unit(how: Literal["pca", "tsne"]) -> None:
    code = np.linspace(0, 1, 60, dtype=np.float32)[:, None]
    points = embed(code, how)
    assert points.shape == (60, 2)
    assert np.isfinite(points).all()


EMBED_FAINT_CODES = """
import numpy as np
from rhobeta.reporting.codes import embed
for scale in (0.0, 1e-25):
    code = scale * np.random.default_rng(0).random((60, 4)).astype(np.float32)
    for how in ("pca", "tsne"):
        points = embed(code.astype(np.float32), how)
        assert points.shape == (60, 2)
        assert np.isfinite(points).all()
"""


@pytest.mark.slow
def test_embed_codes_of_almost_no_activity() -> None:
    # In a process of its own: without variance, scikit-learn's t-SNE ends the process.
    done = subprocess.run(
        [sys.executable, "-c", EMBED_FAINT_CODES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("penalty", "panels"), [(1.0, 4), (0.0, 2)])
def test_learning_curves_figure(penalty: float, panels: int) -> None:
    values = history(penalty)
    axes = draw_learning_curves(values, 2, 0.05).axes
    names = [
        ("train_loss", "validation_loss"),
        ("train_mse", "validation_mse"),
        ("train_penalty", "validation_penalty"),
        ("train_mean_activity", "validation_rho_hat_mean"),
    ]
    shown = names if penalty else [names[1], names[3]]
    assert len(axes) == panels
    for axis, (train, validation) in zip(axes, shown, strict=True):
        curves = {line.get_color(): line for line in axis.lines if len(line.get_xdata()) == 3}
        assert list(curves[BLUE].get_ydata()) == values[train]
        assert list(curves[ORANGE].get_ydata()) == values[validation]
        assert list(curves[BLUE].get_xdata()) == [1, 2, 3]
        assert levels(axis, GREY, upright=True) == [2]
    assert [levels(axis, RED) for axis in axes] == [[]] * (panels - 1) + [[0.05]]
    assert [axis.get_yscale() for axis in axes] == ["log"] * (panels - 1) + ["linear"]


def test_learning_curves_figure_of_one_epoch() -> None:
    one = {name: values[:1] for name, values in history().items()}
    for axis in draw_learning_curves(one, 1, None).axes:
        assert {line.get_marker() for line in axis.lines if len(line.get_xdata()) == 1} == {"o"}


def as_csv(values: History) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(values)
    writer.writerows(zip(*values.values(), strict=True))
    return text.getvalue()


def test_read_history() -> None:
    assert read_history(as_csv(history()), name="history.csv") == history()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no history at all",
        as_csv({name: [] for name in history()}),
        as_csv(history()).replace("0.22", "oops"),
        as_csv(history()).replace("0.22", ""),
        as_csv(history())[:-8],
        as_csv(history()).replace("train_mse", "train_msx"),
        "x" * 200_000 + "\n1\n",
    ],
    ids=[
        "empty",
        "a line",
        "no rows",
        "a word",
        "a gap",
        "cut short",
        "other column",
        "long field",
    ],
)
def test_read_history_refuses_other_tables(text: str) -> None:
    with pytest.raises(RhobetaError, match=r"reports/history\.csv"):
        read_history(text, name="reports/history.csv")


def test_reconstructions_figure(record: TestRecord, test: TestSamples) -> None:
    originals = test.rows(record.examples)
    rebuilt = record.reconstructions.reshape(-1, 28, 28)
    axes = draw_reconstructions(originals, record.activity[record.examples], rebuilt).axes
    assert [axis.get_title(loc="left").partition(":")[0] for axis in axes] == [
        "Original",
        "Code",
        "Reconstructed",
    ]
    for axis, images in ((axes[0], originals), (axes[2], rebuilt)):
        shown = np.asarray(axis.images[0].get_array())
        assert shown.shape == (30, 10 * 29 + 1)
        for index, image in enumerate(images):
            left = 1 + 29 * index
            np.testing.assert_array_equal(shown[1:29, left : left + 28], image)
        assert axis.images[0].get_clim() == (0, 1)


def test_reconstructions_figure_shows_codes_as_squares() -> None:
    images = np.zeros((2, 6, 6), np.float32)
    codes = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]], np.float32) / 10
    picture = draw_reconstructions(images, codes, images).axes[1].images[0]
    shown = picture.get_array().filled(np.nan)
    empty = np.nan
    expected = [
        [empty, empty, empty, empty, empty, empty, empty, empty, empty],
        [empty, 0.1, 0.2, 0.3, empty, 0.6, 0.7, 0.8, empty],
        [empty, 0.4, 0.5, empty, empty, 0.9, 0.0, empty, empty],
        [empty, empty, empty, empty, empty, empty, empty, empty, empty],
        [empty, empty, empty, empty, empty, empty, empty, empty, empty],
    ]
    np.testing.assert_array_equal(shown, np.array(expected, np.float32))
    assert picture.get_clim() == (0, pytest.approx(0.9))


@pytest.mark.parametrize("shape", [(28, 28), (20, 40), (40, 20)])
def test_reconstructions_figure_keeps_proportions(shape: tuple[int, int]) -> None:
    images = np.zeros((3, *shape), np.float32)
    axis = draw_reconstructions(images, np.ones((3, 4), np.float32), images).axes[0]
    left, right, bottom, top = axis.images[0].get_extent()
    rows, columns = axis.images[0].get_array().shape
    wide, high = (right - left) / columns, abs(top - bottom) / rows
    assert axis.get_aspect() in (1, "equal")
    assert wide / high == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("count", "columns"), [(2, 1), (5, 3), (6, 3), (3, 8)])
def test_tiled_is_the_grid_of_torchvision(count: int, columns: int) -> None:
    images = np.random.default_rng(0).random((count, 3, 5), dtype=np.float32)
    grid = make_grid(torch.from_numpy(images)[:, None], nrow=columns, padding=1, pad_value=np.nan)
    np.testing.assert_array_equal(tiled(images, columns=columns, gap=np.nan), grid[0].numpy())


def test_filters_figure_scales_each_filter_by_itself() -> None:
    filters: NDArray[np.float32] = np.zeros((4, 1, 2), np.float32)
    filters[1] = [[2.0, -4.0]]
    filters[3] = [[0.1, 0.05]]
    axis = draw_filters(filters, np.array([3, 0, 1])).axes[0]
    shown = np.asarray(axis.images[0].get_array().filled(np.nan))
    rows = shown[np.isfinite(shown).any(1)]
    drawn = rows[np.isfinite(rows)].reshape(-1, 2)
    # A filter of zeros stays one; places beyond the last are left empty.
    np.testing.assert_allclose(drawn, [[1, 0.5], [0, 0], [0.5, -1]])
    assert axis.images[0].get_clim() == (-1, 1)


def test_decoder_filters_of_one_layer_are_its_columns(model: Autoencoder) -> None:
    filters = decoder_filters(model)
    weight = model.decoder[0].weight.detach().numpy()
    assert filters.shape == (UNITS, 28, 28)
    for unit in range(UNITS):
        np.testing.assert_array_equal(filters[unit].ravel(), weight[:, unit])


@pytest.mark.parametrize("sizes", [(9, 5), (9, 7, 5)], ids=len)
def test_decoder_filters_of_more_layers(sizes: tuple[int, ...]) -> None:
    model = Autoencoder(Architecture((3, 4), sizes, "sigmoid", "tanh", "sigmoid"), seed=1)
    for layer in model.decoder:
        torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    filters = decoder_filters(model)
    assert filters.shape == (5, 3, 4)
    with torch.no_grad():
        at_rest = model.decode(torch.zeros(5))
        for unit in range(5):
            alone = torch.zeros(5)
            alone[unit] = 1
            expected = (model.decode(alone) - at_rest).reshape(3, 4)
            np.testing.assert_allclose(filters[unit], expected, rtol=1e-5, atol=1e-6)


def test_filters_of_colour_images_are_drawn_in_colour_on_grey() -> None:
    filters = np.zeros((2, 1, 1, 3), np.float32)
    filters[1] = [4.0, -2.0, 0.0]
    axis = draw_filters(filters, np.array([1, 0])).axes[0]
    shown = np.asarray(axis.images[0].get_array())
    np.testing.assert_array_equal(shown[1, [1, 3]], [[1, 0.25, 0.5], [0.5, 0.5, 0.5]])


def test_reconstructions_of_colour_images_keep_their_colours() -> None:
    images = np.random.default_rng(0).random((2, 4, 5, 3), dtype=np.float32)
    above = images + np.float32(0.5)
    axes = draw_reconstructions(images, np.ones((2, 4), np.float32), above).axes
    shown, rebuilt = (np.asarray(axes[place].images[0].get_array()) for place in (0, 2))
    np.testing.assert_array_equal(shown[1:5, 7:12], images[1])
    np.testing.assert_array_equal(rebuilt[1:5, 7:12], above[1].clip(0, 1))
