"""The unit dashboard: a card for each unit, with its own numbers and pictures."""

import base64
import io
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from helpers.pages import Page
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
from rhobeta.reporting.dashboard import (
    Card,
    CardClasses,
    filter_png,
    group_cards,
    images_png,
    render_dashboard,
    unit_cards,
)
from rhobeta.reporting.words import TestSamples

# Four units, classes 3 and 8: unit 0 is for 8, unit 1 for 3, unit 2 never fires, unit 3 for 8.
ACTIVITY = np.array(
    [[0.2, 0.6, 0.0, 0.0], [0.6, 0.2, 0.05, 0.0], [0.0, 0.4, 0.0, 0.0], [0.4, 0.0, 0.0, 0.9]],
    np.float32,
)
LABELS = np.array([3, 8, 3, 8], np.uint8)


# Each image is filled with its own shade.
SHADES = np.array([10, 20, 30, 40], np.uint8)
TEST = TestSamples(Samples(np.repeat(SHADES, 6).reshape(4, 2, 3), LABELS))


def record() -> TestRecord:
    return TestRecord(
        activity=ACTIVITY,
        examples=np.array([0, 1]),
        reconstructions=np.zeros((2, 6), np.float32),
        feature_mse=np.zeros(6),
        l0_counts=np.zeros(5, np.int64),
        l0_threshold=np.array([0.1]),
        # Means 0.3, 0.3, 0.0125 and 0.225.
        top_units=np.array([0, 1, 3, 2]),
        top_rows=exciting_rows(ACTIVITY[:, [0, 1, 3, 2]], threshold=0.1),
    )


def saved_model(name: str = "mnist", hidden: tuple[int, ...] = (4,)) -> SavedModel:
    architecture = Architecture((2, 3), hidden, "sigmoid", "relu", "sigmoid")
    parameters = {"data.name": name, "penalty.kind": "none"}
    described = ModelDescription(architecture, parameters, "cd" * 32, best_epoch=1, best_loss=0.1)
    return model_from_bytes(model_to_bytes(Autoencoder(architecture), described), name="it")


def cards(count: int = 4) -> list[Card]:
    filters = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    return unit_cards(filters, record(), TEST, count=count)


def picture(source: str) -> NDArray[np.uint8]:
    kind, _, data = source.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def classes(card: Card) -> CardClasses:
    assert card.classes is not None
    return card.classes


def test_cards_by_hand() -> None:
    first, second, third, inactive = cards()
    numbers = [(c.unit, classes(c).best, c.fired, c.firing_rate) for c in cards()]
    assert numbers == [(0, 8, 3, 0.75), (1, 3, 3, 0.75), (3, 8, 1, 0.25), (2, 8, 0, 0.0)]
    assert [card.shown for card in cards()] == [3, 3, 1, 0]
    assert inactive.images == ""
    # Unit 0: 0.1 for class 3, 0.5 for class 8; unit 1: 0.5 and 0.1.
    assert classes(first).selectivity == pytest.approx(0.4 / 0.6)
    assert classes(third).selectivity == 1
    assert [(bar.name, bar.best) for bar in classes(first).bars] == [("3", False), ("8", True)]
    assert [bar.mean for bar in classes(first).bars] == pytest.approx([0.1, 0.5])
    assert [bar.percent for bar in classes(first).bars] == pytest.approx([20, 100])
    assert [bar.percent for bar in classes(second).bars] == pytest.approx([100, 20])


def test_card_shows_the_images_of_its_unit() -> None:
    shades = [sorted(set(picture(card.images)[..., 0].ravel().tolist())) for card in cards()[:3]]
    assert shades == [[215, 235, 245, 255], [225, 235, 245, 255], [215, 255]]


def test_card_shows_the_filter_of_its_unit() -> None:
    # In the order of the code, not of the cards: unit 3 is the third card, unit 2 the fourth.
    weights = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    for card in cards():
        np.testing.assert_array_equal(
            picture(card.filter),
            np.asarray(Image.open(io.BytesIO(filter_png(weights[card.unit]))).convert("RGB")),
        )


def test_cards_of_the_most_active_units() -> None:
    assert [card.unit for card in cards(2)] == [0, 1]


def test_bars_of_a_unit_that_is_always_zero() -> None:
    plain = record()
    activity = ACTIVITY.copy()
    activity[:, 2] = 0
    inactive = unit_cards(
        np.zeros((4, 2, 3), np.float32),
        TestRecord(**(vars(plain) | {"activity": activity})),
        TEST,
        count=4,
    )[3]
    assert [bar.percent for bar in classes(inactive).bars] == [0, 0]


def card(unit: int, best_class: int, selectivity: float, fired: int = 1) -> Card:
    of_classes = CardClasses(best_class, str(best_class), selectivity, [])
    return Card(unit, fired, fired / 4, "", "", 0, of_classes)


def test_cards_are_grouped_by_class_inactive_units_last() -> None:
    found = group_cards(
        [
            card(5, 8, 0.2),
            card(4, 0, 0.9, fired=0),
            card(3, 8, 0.7),
            card(2, 3, 0.1),
            card(1, 8, 0.2),
        ]
    )
    assert [(group.title, [card.unit for card in group.cards]) for group in found] == [
        ("Class 3", [2]),
        ("Class 8", [3, 1, 5]),
        ("Units that are never active", [4]),
    ]


def test_filter_is_red_where_it_adds_ink() -> None:
    weights = np.array([[2.0, 0.0, -4.0]], np.float32)
    ((add, nothing, remove),) = np.asarray(
        Image.open(io.BytesIO(filter_png(weights))).convert("RGB")
    ).astype(int)
    assert add[0] > add[2] + 50
    assert remove[2] > remove[0] + 50
    assert min(nothing) > 240
    # Its largest weight has the darkest shade.
    assert remove.sum() < add.sum() < nothing.sum()


def test_images_are_three_to_a_row_dark_on_white() -> None:
    images = np.array([0, 1, 2, 3], np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    sheet = np.asarray(Image.open(io.BytesIO(images_png(images))))
    w = 255
    expected = [
        [255, 255, w, 254, 254, w, 253, 253],
        [255, 255, w, 254, 254, w, 253, 253],
        [w] * 8,
        [252, 252, w, w, w, w, w, w],
        [252, 252, w, w, w, w, w, w],
    ]
    np.testing.assert_array_equal(sheet, expected)


def test_large_pictures_are_scaled_down() -> None:
    sheet = Image.open(io.BytesIO(images_png(np.zeros((3, 100, 200), np.uint8))))
    assert sheet.size == (3 * 57 - 1, 28)
    drawn = Image.open(io.BytesIO(filter_png(np.ones((100, 200), np.float32))))
    assert drawn.size == (56, 28)


def test_page_shows_every_card_with_its_numbers() -> None:
    page = Page(render_dashboard(saved_model(), record(), TEST, count=100))
    assert re.findall(r"Unit (\d)\s", page.text) == ["1", "3", "0", "2"]
    assert "all 4 units,\nmeasured on 4 test images" in page.text
    assert "fires for 75.0% · class 8 · selectivity 0.67" in page.text
    assert "fires for 25.0% · class 8 · selectivity 1.00" in page.text
    assert "No test image excites it above 0.1." in page.text
    heights = [style.removeprefix("height:") for style in page.values("style", "span")]
    assert heights[:4] == ["100%", "20%", "0%", "100%"]


def test_cards_hold_what_search_and_order_need() -> None:
    page = Page(render_dashboard(saved_model(), record(), TEST, count=4))
    assert page.values("data-words") == [
        *("unit 1 class 3", "unit 3 class 8", "unit 0 class 8", "unit 2 class 8"),
    ]
    orders = [key for key in page.values("value", "option") if key]
    for key in orders:
        assert len([float(value) for value in page.values(f"data-{key}")]) == 4


def test_page_says_where_it_leaves_units_out() -> None:
    page = Page(render_dashboard(saved_model(), record(), TEST, count=2))
    assert "the 2 most active of 4 units" in page.text


@pytest.mark.parametrize(("hidden", "deep"), [((4,), False), ((5, 4), True)])
def test_page_explains_filters_of_a_deep_decoder(hidden: tuple[int, ...], deep: bool) -> None:
    page = Page(render_dashboard(saved_model(hidden=hidden), record(), TEST, count=4))
    assert ("The decoder has several layers" in page.text) is deep


def test_page_is_self_contained_and_its_links_lead_somewhere() -> None:
    page = Page(render_dashboard(saved_model(), record(), TEST, count=4))
    assert page.is_self_contained()
    links = page.values("href", "a")
    assert links == ["report.html", "#class-3", "#class-8", "#inactive"]
    assert {f"#{place}" for place in page.values("id", "h2")} == set(links[1:])
    # Four filters, and images of the three units that fire.
    assert len(page.values("src")) == 7


def test_page_escapes_html_in_names() -> None:
    name = '</title><script>alert("1 & 2")</script>'
    page = Page(render_dashboard(saved_model(name), record(), TEST, count=4))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert f"on {name}" in page.text


def test_page_of_a_hundred_units_is_small() -> None:
    random = np.random.default_rng(0)
    # Noise does not compress: real filters and digits are smaller.
    noisy = TestRecord(
        **(
            vars(record())
            | {
                "activity": random.random((20, 100), dtype=np.float32),
                "top_units": np.arange(100),
                "top_rows": random.integers(0, 20, (100, 9)),
            }
        )
    )
    images = random.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    test = TestSamples(Samples(images, np.arange(20, dtype=np.uint8) % 10))
    architecture = Architecture((28, 28), (100,), "sigmoid", "relu", "sigmoid")
    described = ModelDescription(
        architecture, {"data.name": "own", "penalty.kind": "none"}, "cd" * 32, 1, 0.1
    )
    saved = model_from_bytes(model_to_bytes(Autoencoder(architecture), described), name="it")
    assert len(render_dashboard(saved, noisy, test, count=100)) < 2_000_000


def test_pictures_of_colour_images_are_in_colour() -> None:
    images = np.zeros((2, 2, 2, 3), np.uint8)
    images[1] = [200, 100, 50]
    sheet = np.asarray(Image.open(io.BytesIO(images_png(images))))
    assert sheet[0, [0, 2, 3]].tolist() == [[0, 0, 0], [255, 255, 255], [200, 100, 50]]
    weights = np.array([[[3.0, -3.0, 0.0]]], np.float32)
    drawn = np.asarray(Image.open(io.BytesIO(filter_png(weights))))
    assert drawn.tolist() == [[[255, 0, 128]]]
