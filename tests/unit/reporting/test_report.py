"""The report: every number with its verdict, every figure inside, nothing from outside."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from helpers.task_samples import USE_METRICS, with_uses
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.weights import (
    ModelDescription,
    SavedModel,
    model_from_bytes,
    model_to_bytes,
)
from rhobeta.reporting.introduction import introduction
from rhobeta.reporting.plain_words import plain_words
from rhobeta.reporting.report import SECTIONS, USE_SECTIONS, render_report
from rhobeta.reporting.rows import result_rows
from rhobeta.reporting.task_rows import task_rows


def metrics(*, rho: float | None = 0.05, **beats: bool) -> dict[str, dict[str, Any]]:
    target = {} if rho is None else {"rho_target": rho, "rho_hat_distance": 0.01}
    return {
        "test": {
            "mse": 0.0123456,
            "fvu": 0.18349,
            "psnr_db": 19.0847,
            **target,
            "rho_hat_mean": 0.05123,
            "rho_hat_min": 0.00123,
            "rho_hat_max": 0.25678,
            "l0_at_0.1": 7.249,
            "l0_at_0.5": 1.5,
            "gini": 0.8126,
            "hoyer": 0.7034,
            "treves_rolls": 0.1357,
            "dead_units": 11,
            "constant_units": 12,
            "saturated_units": 13,
        },
        "probe": {"code_accuracy": 0.91234, "pixel_accuracy": 0.92567},
        "baselines": {"mean_image_mse": 0.0671, "pca_mse": 0.01112, "pca_clipped_mse": 0.01023},
        "beats_baseline": {
            "mean_image": True,
            "pca": False,
            "pca_clipped": False,
            "pixel_probe": False,
        }
        | beats,
    }


def saved_model(**changes: Any) -> SavedModel:
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
        architecture, parameters | changes, "cd" * 32, best_epoch=23, best_loss=0.1
    )
    return model_from_bytes(model_to_bytes(Autoencoder(architecture), described), name="it")


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, Path]:
    sections = (*SECTIONS, *USE_SECTIONS.values())
    paths = {section.figure: tmp_path / f"{section.figure}.png" for section in sections}
    for name, path in paths.items():
        path.write_bytes(b"\x89PNG of " + name.encode())
    return paths


def report(figures: dict[str, Path], **changes: Any) -> str:
    return render_report(saved_model(**changes), metrics(), figures)


def report_of_uses(figures: dict[str, Path], *uses: str) -> str:
    return render_report(saved_model(), with_uses(metrics(), *uses), figures)


class Page(HTMLParser):
    """Collects tags with their attributes, rows of cells, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.text = ""
        self._in_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [str(value) for name, value in attrs if name == "href"]
        self._in_cell = tag in ("td", "th") or (self._in_cell and tag == "code")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data


def test_every_row_of_the_results_is_in_the_report(figures: dict[str, Path]) -> None:
    page = Page(report(figures))
    for row in result_rows(metrics()):
        assert [row.name, row.value, row.baseline, row.verdict, row.meaning] in page.rows


def test_results_by_hand() -> None:
    rows = {row.name: (row.value, row.baseline, row.verdict) for row in result_rows(metrics())}
    assert rows == {
        "MSE against the mean image": ("0.01235", "0.06710", "beats it"),
        "MSE against PCA of the same size": ("0.01235", "0.01112", "does not beat it"),
        "MSE against PCA clipped to [0, 1]": ("0.01235", "0.01023", "does not beat it"),
        "FVU": ("0.183", "1", ""),
        "PSNR": ("19.08 dB", "", ""),
        "Linear probe": ("91.23%", "92.57%", "does not beat it"),
        "Mean activation": ("0.0512", "target 0.05", ""),
        "L0 above 0.1": ("7.2", "", ""),
        "L0 above 0.5": ("1.5", "", ""),
        "Gini": ("0.813", "", ""),
        "Hoyer": ("0.703", "", ""),
        "Treves-Rolls": ("0.136", "", ""),
        "Dead, constant, saturated units": ("11, 12, 13", "0, 0, 0", ""),
    }


@pytest.mark.parametrize(
    ("baseline", "name"),
    [
        ("mean_image", "MSE against the mean image"),
        ("pca", "MSE against PCA of the same size"),
        ("pca_clipped", "MSE against PCA clipped to [0, 1]"),
        ("pixel_probe", "Linear probe"),
    ],
)
@pytest.mark.parametrize("beaten", [True, False])
def test_a_verdict_is_that_of_its_own_floor(baseline: str, name: str, beaten: bool) -> None:
    others = dict.fromkeys(metrics()["beats_baseline"], not beaten)
    rows = {row.name: row.verdict for row in result_rows(metrics(**(others | {baseline: beaten})))}
    assert rows[name] == ("beats it" if beaten else "does not beat it")
    assert [verdict for verdict in rows.values() if verdict].count(rows[name]) == 1


def test_the_mean_activations_range_is_told() -> None:
    (row,) = (row for row in result_rows(metrics()) if row.name == "Mean activation")
    assert "from 0.0012 to 0.2568" in row.meaning


def test_without_a_target_the_mean_activation_stands_alone() -> None:
    (row,) = (row for row in result_rows(metrics(rho=None)) if row.name == "Mean activation")
    assert (row.value, row.baseline, row.verdict) == ("0.0512", "", "")


def test_every_figure_is_inside_under_its_title(figures: dict[str, Path]) -> None:
    page = Page(report(figures))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == [section.title for section in SECTIONS]
    for image, section in zip(images, SECTIONS, strict=True):
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == figures[section.figure].read_bytes()
        assert section.reading in page.text


def test_nothing_comes_from_outside(figures: dict[str, Path]) -> None:
    html = report_of_uses(figures)
    page = Page(html)
    assert page.links == ["dashboard.html"]
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    sources = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "action", "data", "poster")
    ]
    assert len(sources) == len(SECTIONS) + len(USE_SECTIONS)
    assert all(str(source).startswith("data:") for source in sources)
    assert not re.search(r"https?:|url\(|@import|//\w", re.sub(r"base64,[^\"]*", "", html))


def test_every_use_has_its_rows_in_the_report(figures: dict[str, Path]) -> None:
    page = Page(report_of_uses(figures))
    shown = page.rows[page.rows.index([*page.rows[0]], 1) + 1 :]
    told: list[str] = []
    for row, cells in zip(task_rows(with_uses(metrics())), shown, strict=False):
        # Name, value and meaning stand once where rows share them.
        own = [row.baseline, row.verdict]
        assert cells in (
            [row.name, row.value, *own, row.meaning],
            [row.name, row.value, *own],
            own,
        )
        told += [cells[0]] if len(cells) > 2 else []
        told += [cells[-1]] if len(cells) == 5 else []
        assert row.name in told
        assert row.meaning in told


def test_cells_that_rows_share_are_as_high_as_these_rows(figures: dict[str, Path]) -> None:
    page = Page(report_of_uses(figures))
    spans = [
        (attributes.get("class"), int(str(attributes["rowspan"])))
        for tag, attributes in page.tags
        if tag == "td" and "rowspan" in attributes
    ]
    rows = len(task_rows(with_uses(metrics())))
    for kind in ("name", "number", "quiet"):
        assert sum(height for found, height in spans if found == kind) == rows
    # Three sizes against two baselines, all units against one, three by two, three by two, 1, 2.
    assert [height for found, height in spans if found == "quiet"] == [6, 1, 6, 6, 1, 2]
    assert [height for found, height in spans if found == "name"] == [2] * 3 + [1] + [2] * 6 + [
        1,
        2,
    ]


@pytest.mark.parametrize("use", USE_METRICS)
def test_a_use_has_its_section_where_it_was_scored(use: str, figures: dict[str, Path]) -> None:
    page = Page(report_of_uses(figures, use))
    titles = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert titles == [USE_SECTIONS[use].title, *(section.title for section in SECTIONS)]
    assert USE_SECTIONS[use].reading in page.text
    others = ", ".join(name for name in USE_METRICS if name != use)
    assert (
        f"Not scored, for want of images or as evaluate.tasks leaves them out: {others}."
        in page.text
    )


def test_without_uses_the_report_says_which_were_not_scored(figures: dict[str, Path]) -> None:
    page = Page(report(figures))
    assert (
        "leaves them out: sparse_probe, few_labels, denoising, anomaly, compression." in page.text
    )
    assert "What is it good for?" not in page.text
    scored = Page(report_of_uses(figures))
    assert "Not scored" not in scored.text
    assert "What is it good for?" in scored.text


def test_the_report_says_in_plain_words_what_is_beaten(figures: dict[str, Path]) -> None:
    page = Page(report_of_uses(figures))
    before, _, _ = page.text.partition("Is it any good?")
    for sentence in plain_words(with_uses(metrics())):
        assert sentence in before


def test_what_a_rival_never_reaches_is_said_in_words(figures: dict[str, Path]) -> None:
    assert "JPEG not reached" in Page(report_of_uses(figures, "compression")).text


def test_the_model_is_introduced(figures: dict[str, Path]) -> None:
    page = Page(report(figures))
    assert "Sparse autoencoder 12-6-5-6-12 on fashion-mnist" in page.text
    assert "A tanh code held to a mean activation of rho = 0.07" in page.text
    # Twelve pixels: beta' = 0.5 * 12 / 2.
    assert "of weight beta = 0.5 " in page.text
    assert "= 3 in the units of Ng" in page.text
    assert "Weights of epoch 23 of 40." in page.text


def test_a_model_without_a_penalty_is_introduced_without_one(figures: dict[str, Path]) -> None:
    page = Page(report(figures, **{"penalty.kind": "none"}))
    assert "A tanh code without a sparsity penalty" in page.text
    assert "Kullback-Leibler" not in page.text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"penalty.kind": "kl_poisson", "model.code_activation": "relu"},
            "A relu code held to a mean activation of rho = 0.07 by the penalty kl_poisson (sum"
            " over units of rho log(rho / q) - rho + q), of weight beta = 0.5 beside the"
            " pixel-mean squared error.",
        ),
        (
            {"penalty.kind": "l1_weights", "training.pixel_loss": "bce"},
            "A tanh code with the penalty l1_weights (sum over weights of |w|), of weight"
            " beta = 0.5 beside the pixel-mean binary cross-entropy.",
        ),
        (
            {"penalty.kind": "none", "model.code_activation": "topk"},
            "A topk code in which the 8 largest units speak, without a sparsity penalty, trained"
            " on the pixel-mean squared error.",
        ),
    ],
)
def test_other_codes_and_penalties_are_introduced(changes: dict[str, Any], sentence: str) -> None:
    assert introduction(saved_model(**changes)) == sentence


def test_what_made_the_model_is_told(figures: dict[str, Path]) -> None:
    saved = saved_model()
    page = Page(report(figures))
    for name, value in saved.description.parameters.items():
        assert [name, str(value)] in page.rows
    assert ["model, SHA-256", saved.sha256] in page.rows
    assert ["data, SHA-256", "cd" * 32] in page.rows


def test_a_name_with_html_in_it_is_shown_not_obeyed(figures: dict[str, Path]) -> None:
    name = '</title><script>alert("1 & 2")</script>'
    html = report(figures, **{"data.name": name})
    assert name not in html
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert f"on {name}" in page.text
    assert ["data.name", name] in page.rows


def test_a_missing_figure_is_an_error_not_a_hole(figures: dict[str, Path]) -> None:
    del figures["filters"]
    with pytest.raises(UndefinedError, match="filters"):
        report(figures)


def test_the_same_results_are_the_same_report(figures: dict[str, Path]) -> None:
    assert report(figures) == report(figures)
