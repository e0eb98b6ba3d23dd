"""The report: numbers with verdicts, figures inside, nothing from outside."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from helpers import REPOSITORY
from helpers.pages import Page
from helpers.task_samples import CORE_METRICS, TASK_METRICS, with_tasks
from rhobeta.config.presets import preset_names, read_preset
from rhobeta.extensions import PENALTY_SPECS
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import (
    ModelDescription,
    SavedModel,
    model_from_bytes,
    model_to_bytes,
)
from rhobeta.reporting.hover import Spot
from rhobeta.reporting.report import Picture, render_report
from rhobeta.reporting.tables import result_rows, task_rows, verdict_sentences
from rhobeta.reporting.texts import introduction, task_texts
from rhobeta.reporting.thumbnails import make_thumbnails
from rhobeta.reporting.words import IMAGES
from rhobeta.tracking.report_copy import PLACE

TASK_FIGURES = ("sparse_probe", "few_labels", "denoising", "anomaly", "rate_distortion")
CORE_FIGURES = (
    *("reconstructions", "filters", "unit_activity", "activity", "firing_rates"),
    *("embedding", "class_code", "learning_curves"),
)


def saved_model(sparsity: dict[str, float] = {}, **changes: Any) -> SavedModel:  # noqa: B006
    architecture = Architecture((3, 4), (6, 5), "tanh", "relu", "sigmoid")
    parameters = {
        "data.name": "fashion-mnist",
        "model.code_activation": "tanh",
        "penalty.kind": "kl",
        "penalty.rho": 0.07,
        "penalty.beta": 0.5,
        "training.epochs": 40,
        "training.learning_rate": 0.00625,
        "training.pixel_loss": "mse",
        "topk.k": 8,
    }
    described = ModelDescription(
        architecture,
        parameters | changes,
        "cd" * 32,
        best_epoch=23,
        best_loss=0.1,
        sparsity=sparsity,
    )
    return model_from_bytes(model_to_bytes(Autoencoder(architecture), described), name="it")


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, Picture]:
    paths = {name: tmp_path / f"{name}.png" for name in (*TASK_FIGURES, *CORE_FIGURES)}
    for name, path in paths.items():
        path.write_bytes(b"\x89PNG of " + name.encode())
    return {name: Picture(path) for name, path in paths.items()}


def core_report(figures: dict[str, Picture], **changes: Any) -> str:
    return render_report(saved_model(**changes), CORE_METRICS, figures)


def test_report_shows_every_core_result(figures: dict[str, Picture]) -> None:
    page = Page(core_report(figures))
    for row in result_rows(CORE_METRICS):
        assert [row.name, row.value, row.baseline, row.verdict, row.meaning] in page.rows


def test_report_shows_every_task_row(figures: dict[str, Picture]) -> None:
    page = Page(render_report(saved_model(), with_tasks(), figures))
    rows = task_rows(with_tasks())
    start = next(i for i, cells in enumerate(page.rows) if cells[:1] == [rows[0].name])
    for row, cells in zip(rows, page.rows[start:], strict=False):
        # Name, value and meaning stand once where rows share them.
        own = [row.baseline, row.verdict]
        whole = [row.name, row.value, *own, row.meaning]
        assert cells in (whole, whole[:-1], own)
    spans = [int(height) for height in page.values("rowspan")]
    # The heights of names, values and meanings each add up to all rows.
    assert sum(spans) == 3 * len(rows)


def test_report_embeds_every_figure(figures: dict[str, Picture]) -> None:
    page = Page(render_report(saved_model(), with_tasks(), figures))
    content = [base64.b64decode(source.partition("base64,")[2]) for source in page.values("src")]
    assert content == [picture.path.read_bytes() for picture in figures.values()]
    assert len(set(page.values("alt"))) == len(figures)


def test_report_is_self_contained(figures: dict[str, Picture]) -> None:
    page = Page(render_report(saved_model(), with_tasks(), figures))
    assert page.is_self_contained()
    links = page.values("href")
    assert links[0] == "dashboard.html"
    assert set(links[1:]) <= {f"#{place}" for place in page.values("id")}


def test_contents_name_every_section(figures: dict[str, Picture]) -> None:
    page = Page(render_report(saved_model(), with_tasks(), figures))
    anchors = [link.removeprefix("#") for link in page.values("href")[1:]]
    assert anchors == page.values("id", "h2")


def test_values_lie_over_their_figure(figures: dict[str, Picture]) -> None:
    spots = [Spot(10.5, 20.0, "train, epoch 2: <0.5>"), Spot(30.0, 40.0, "")]
    figures["learning_curves"] = replace(figures["learning_curves"], spots=spots)
    page = Page(core_report(figures))
    places = [(circle["cx"], circle["cy"]) for tag, circle in page.tags if tag == "circle"]
    assert places == [("10.5", "20.0"), ("30.0", "40.0")]
    assert page.text.count("train, epoch 2: <0.5>") == 1


def test_thumbnails_are_of_the_images_in_order(figures: dict[str, Picture]) -> None:
    shades = np.array([0, 80, 255], np.uint8)
    images = np.broadcast_to(shades[:, None, None], (3, 4, 5))
    found = make_thumbnails(images)
    sheet = Image.open(io.BytesIO(base64.b64decode(found.source.partition(",")[2]))).convert("L")
    places = [(found.side * place, 0) for place in range(4)]
    assert [sheet.getpixel(place) for place in places] == [255, 170, 0, 255]
    page = Page(render_report(saved_model(), CORE_METRICS, figures, found))
    assert page.values("src")[-1] == found.source
    assert page.is_self_contained()


@pytest.mark.parametrize(("count", "most"), [(2000, 1_200_000), (20000, 1_400_000)])
def test_thumbnails_of_noise_are_small(count: int, most: int) -> None:
    # Noise does not compress: real images are smaller.
    noise = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
    assert len(make_thumbnails(noise).source) < most


def test_report_has_one_place_for_the_provenance(figures: dict[str, Picture]) -> None:
    assert core_report(figures, **{"data.name": PLACE}).count(PLACE) == 1


@pytest.mark.parametrize("tasks", [(), ("denoising",), tuple(TASK_METRICS)], ids=len)
def test_report_shows_scored_tasks_and_names_the_others(
    figures: dict[str, Picture], tasks: tuple[str, ...]
) -> None:
    metrics = with_tasks(*tasks) if tasks else CORE_METRICS
    shown = {name: figures[name] for name in (*tasks, *CORE_FIGURES) if name in figures}
    page = Page(render_report(saved_model(), metrics, shown))
    assert len(page.values("src")) == len(shown)
    others = ", ".join(task for task in task_texts(IMAGES) if task not in tasks)
    assert (f"Not scored: {others} (" in page.text) is bool(others)
    assert ("Downstream tasks" in page.text) is bool(tasks)


def test_report_begins_with_the_verdicts(figures: dict[str, Picture]) -> None:
    page = Page(render_report(saved_model(), with_tasks(), figures))
    before = page.text.partition("Core results")[0]
    assert all(sentence in before for sentence in verdict_sentences(with_tasks()))


def test_report_introduces_the_model_and_its_parameters(figures: dict[str, Picture]) -> None:
    saved, page = saved_model(), Page(core_report(figures))
    assert "Sparse autoencoder 12-6-5-6-12 on fashion-mnist" in page.text
    assert introduction(saved, CORE_METRICS) in page.text
    assert "Weights of epoch 23 of 40." in page.text
    for name, value in saved.description.parameters.items():
        assert [name, str(value)] in page.rows
    assert ["model, SHA-256", saved.sha256] in page.rows
    assert ["data, SHA-256", "cd" * 32] in page.rows


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            # Twelve pixels: beta' = 0.5 * 12 / 2.
            "A tanh code of mean activation 0.0512 on test images, trained with a Kullback-Leibler"
            " penalty (sum over units of KL(rho || q)) that asks for rho = 0.07 with weight"
            " beta = 0.5 beside the pixel-mean squared error (beta\N{PRIME} = 3 in the units of"
            " Ng's CS294A notes).",
        ),
        (
            {"penalty.kind": "kl_poisson", "model.code_activation": "relu"},
            "A relu code of mean activation 0.0512 on test images, trained with the penalty"
            " kl_poisson (sum over units of rho log(rho / q) - rho + q) that asks for rho = 0.07"
            " with weight beta = 0.5 beside the pixel-mean squared error.",
        ),
        (
            {"penalty.kind": "l1_weights", "training.pixel_loss": "bce"},
            "A tanh code of mean activation 0.0512 on test images, trained with the penalty"
            " l1_weights (sum over weights of |w|) with weight beta = 0.5 beside the pixel-mean"
            " binary cross-entropy.",
        ),
        (
            {"penalty.kind": "none", "model.code_activation": "topk"},
            "A topk code with at most 8 active units of mean activation 0.0512 on test images,"
            " trained without a sparsity penalty on the pixel-mean squared error.",
        ),
    ],
)
def test_introduction_of_code_and_penalty(changes: dict[str, Any], sentence: str) -> None:
    assert introduction(saved_model(**changes), CORE_METRICS) == sentence


@pytest.mark.parametrize(
    ("above", "metric", "asked"),
    [
        (None, "rho_hat_mean", "a mean activation of 0.05"),
        (0.1, "l0_at_0.1", "an L0 of 6 above 0.1"),
    ],
)
def test_introduction_with_a_target_says_what_was_found(
    above: float | None, metric: str, asked: str
) -> None:
    sparsity = {f"validation/{metric}": 0.0496, "beta": 0.0062134}
    target = 0.05 if above is None else 6
    changes = {"penalty.target": target, "penalty.target_above": above, "penalty.beta": "auto"}
    changes["penalty.rho"] = None
    sentence = introduction(saved_model(sparsity, **changes), CORE_METRICS)
    assert sentence == (
        "A tanh code of mean activation 0.0512 on test images, trained with a Kullback-Leibler"
        " penalty (sum over units of KL(rho || q)) whose weight beta was adjusted to"
        f" {asked} (reached on the validation split: 0.0496, with beta = 0.00621) beside the"
        " pixel-mean squared error (beta\N{PRIME} = 0.0373 in the units of Ng's CS294A notes)."
    )


@pytest.mark.parametrize("name", preset_names(REPOSITORY / "presets"))
def test_introduction_of_a_preset_says_what_was_reached(name: str) -> None:
    values = read_preset(REPOSITORY / "presets", name)
    # A mean far from every rho of the presets.
    metrics = {"test": {"rho_hat_mean": 0.2468}}
    sentence = introduction(saved_model(**values), metrics)
    assert "of mean activation 0.2468 on test images" in sentence
    uses_rho = PENALTY_SPECS[values["penalty.kind"]].uses_rho
    assert (f"asks for rho = {values['penalty.rho']} " in sentence) is uses_rho
    assert (f"beta = {values['penalty.beta']} " in sentence) is (values["penalty.kind"] != "none")
    assert "held" not in sentence


def test_report_escapes_html_in_names(figures: dict[str, Picture]) -> None:
    name = '</title><script>alert("1 & 2")</script>'
    page = Page(core_report(figures, **{"data.name": name}))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert ["data.name", name] in page.rows


def test_report_without_a_figure_is_an_error(figures: dict[str, Picture]) -> None:
    del figures["filters"]
    with pytest.raises(UndefinedError, match="filters"):
        core_report(figures)


def test_thumbnails_of_colour_images_are_in_colour(figures: dict[str, Picture]) -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1] = [200, 100, 50]
    source = make_thumbnails(images).source
    sheet = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
    assert [sheet.getpixel((x, 0)) for x in (0, 8, 16)] == [(0, 0, 0), (200, 100, 50), (255,) * 3]
