"""Values under the pointer lie where the picture shows them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image

from rhobeta.data.samples import Samples
from rhobeta.reporting.codes import draw_embedding, point_groups
from rhobeta.reporting.hover import Spot, spots_of
from rhobeta.reporting.style import BLUE, ORANGE, save, style
from rhobeta.reporting.words import TestSamples


@pytest.fixture(autouse=True)
def _figures_are_drawn_in_the_projects_style() -> Iterator[None]:
    with style():
        yield
        plt.close("all")


def test_spots_lie_on_their_points(tmp_path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
    left.plot([1, 10, 100], [0.1, 0.5, 0.2], color=BLUE, marker="o", ls="", label="code")
    left.axhline(0.3)
    left.set(xscale="log", xlabel="labels (log)", xlim=(0.5, 50))
    right.bar([1, 2], [3.0, 4.5], color=ORANGE)
    right.set(xlabel="unit")
    save(figure, tmp_path / "it.png", 100)
    spots = spots_of(figure)
    assert [spot.text for spot in spots] == [
        *("code, labels 1: 0.1", "code, labels 10: 0.5", "unit 1: 3", "unit 2: 4.5"),
    ]
    picture = Image.open(tmp_path / "it.png").convert("RGB")
    for spot, colour in zip(spots, (BLUE, BLUE, ORANGE, ORANGE), strict=True):
        # The top of a bar is its edge.
        place = (int(spot.x * picture.width / 1000), int(spot.y * picture.height / 1000) + 2)
        expected = [round(255 * part) for part in to_rgb(colour)]
        np.testing.assert_allclose(picture.getpixel(place), expected, atol=3)


def test_spots_name_the_ticks_of_their_axis() -> None:
    figure, axis = plt.subplots()
    axis.plot([0, 1], [0.5, 0.25], label="PCA")
    axis.set_xticks([0, 1], ["3", "4 and 9"])
    axis.set(xlabel="class")
    figure.draw_without_rendering()
    assert [spot.text for spot in spots_of(figure)] == [
        "PCA, class 3: 0.5",
        "PCA, class 4 and 9: 0.25",
    ]


def test_spots_of_a_long_line_are_thinned() -> None:
    figure, axis = plt.subplots()
    axis.plot(range(5000), range(5000), label="train")
    axis.set(xlabel="epoch")
    figure.draw_without_rendering()
    spots = spots_of(figure)
    assert len(spots) == 250
    assert (spots[0].text, spots[-1].text) == ("train, epoch 0: 0", "train, epoch 4999: 4999")


def test_spots_of_the_embedding_are_class_by_class() -> None:
    labels = np.array([2, 0, 2, 1, 0], np.uint8)
    points = np.array([[0.0, 1], [3, 0], [1, 2], [4, 4], [2, 3]])
    test = TestSamples(Samples(np.zeros((5, 2, 2), np.uint8), labels))
    figure = draw_embedding(points, point_groups(np.ones((5, 1), np.float32), test), "PCA")
    figure.draw_without_rendering()
    spots: list[Spot] = spots_of(figure)
    order = np.argsort(labels, kind="stable")
    assert np.argsort([spot.x for spot in spots]).tolist() == np.argsort(points[order, 0]).tolist()
    assert np.argsort([-spot.y for spot in spots]).tolist() == np.argsort(points[order, 1]).tolist()
    assert [spot.text for spot in spots] == [f"class {label}" for label in (0, 0, 1, 2, 2)]
