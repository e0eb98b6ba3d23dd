"""The uses together: which keys they give, and what each verdict is between."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from rhobeta.data.batches import pixels_of
from rhobeta.data.labelled import LabelledImages
from rhobeta.metrics.encoding import codes_of
from rhobeta.metrics.linear import PrincipalComponents
from rhobeta.metrics.tasks import TASKS, EvaluationData, TaskScores, TaskSettings, score_task
from rhobeta.model.autoencoder import Architecture, Autoencoder

SETTINGS = TaskSettings(
    sparse_probe_units=[1, 3],
    few_labels=[2, 5],
    noise=[0.1, 0.3, 0.5],
    normal_classes=None,
    seed=0,
    probe_penalty=1.0,
    probe_iterations=20,
)


@pytest.fixture(scope="module")
def material(digits: LabelledImages, test_digits: LabelledImages) -> EvaluationData:
    """Of a model that was never trained."""
    model = Autoencoder(Architecture((28, 28), (12,), "sigmoid", "relu", "sigmoid"))
    train, test = pixels_of(digits.images), pixels_of(test_digits.images)
    pca = PrincipalComponents.fit(train)
    return EvaluationData(
        model,
        pca,
        digits.labels,
        test_digits.labels,
        code=(codes_of(model, train), codes_of(model, test)),
        features=(codes_of(model, train), codes_of(model, test)),
        pca_code=(pca.coefficients(train, 12), pca.coefficients(test, 12)),
        pixels=(train, test),
    )


def score(name: str, material: EvaluationData, **changes: Any) -> TaskScores:
    return score_task(name, material, dataclasses.replace(SETTINGS, **changes))


def test_sparse_probe_and_few_labels_name_representation_and_setting(
    material: EvaluationData,
) -> None:
    for name, settings, judged in (("sparse_probe", (1, 3), 3), ("few_labels", (2, 5), 2)):
        scores = score(name, material)
        assert list(scores.metrics) == [
            f"{rival}_at_{at}" for rival in ("code", "pca", "pixels") for at in settings
        ]
        for rival in ("pca", "pixels"):
            code, baseline = (
                scores.metrics[f"code_at_{judged}"],
                scores.metrics[f"{rival}_at_{judged}"],
            )
            assert code is not None
            assert baseline is not None
            assert scores.beats_baseline[f"{name}_{rival}"] is (code > baseline)
        assert len(scores.beats_baseline) == 2


def test_a_code_that_is_the_pixels_beats_neither_of_them(material: EvaluationData) -> None:
    same = dataclasses.replace(material, code=material.pixels, features=material.pixels)
    for name in ("sparse_probe", "few_labels"):
        scores = score(name, same)
        assert scores.beats_baseline[f"{name}_pixels"] is False
        for key, value in scores.metrics.items():
            if key.startswith("code_at_"):
                assert value == scores.metrics[key.replace("code", "pixels")]


def test_denoising_is_judged_at_the_middle_level(material: EvaluationData) -> None:
    scores = score("denoising", material)
    assert list(scores.metrics) == [
        f"{name}_at_{sigma}" for sigma in (0.1, 0.3, 0.5) for name in ("code", "wiener", "noisy")
    ]
    assert scores.beats_baseline == {"wiener": False}
    # Where the filter has no training images to speak of, anything beats it at the middle level.
    blank = dataclasses.replace(
        material, pca=PrincipalComponents.fit(1 - np.zeros((3, 784), np.float32))
    )
    assert score("denoising", blank).beats_baseline == {"wiener": True}


def test_anomaly_takes_every_class_alone_and_their_mean(material: EvaluationData) -> None:
    metrics = score("anomaly", material).metrics
    assert len(metrics) == 22
    for name in ("code", "pca"):
        single = [metrics[f"{name}_auroc_at_{label}"] for label in range(10)]
        assert metrics[f"{name}_auroc"] == pytest.approx(np.mean(single))
    assert metrics["code_auroc_at_1"] > metrics["code_auroc_at_8"] > 0.5


def test_normal_classes_are_normal_together(material: EvaluationData) -> None:
    scores = score("anomaly", material, normal_classes=[5, 1])
    assert list(scores.metrics) == [
        "code_auroc",
        "code_auroc_at_1_5",
        "pca_auroc",
        "pca_auroc_at_1_5",
    ]
    assert scores.metrics["code_auroc"] == scores.metrics["code_auroc_at_1_5"]
    code, baseline = scores.metrics["code_auroc"], scores.metrics["pca_auroc"]
    assert scores.beats_baseline == {"anomaly_pca": code > baseline}


def test_a_class_without_test_images_is_left_out(material: EvaluationData) -> None:
    kept = material.test_labels != 4
    fewer = dataclasses.replace(
        material,
        test_labels=material.test_labels[kept],
        code=(material.code[0], material.code[1][kept]),
        pixels=(material.pixels[0], material.pixels[1][kept]),
    )
    metrics = score("anomaly", fewer).metrics
    assert "code_auroc_at_4" not in metrics
    assert len(metrics) == 20


def test_compression_gives_one_point_and_all_curves(material: EvaluationData) -> None:
    scores = score("compression", material)
    assert list(scores.metrics) == ["code_bits", "mse", "pca_bits", "jpeg_bits"]
    assert list(scores.curves) == ["code", "pca", "jpeg"]
    assert (scores.metrics["code_bits"], scores.metrics["mse"]) in scores.curves["code"]
    # So bad is an untrained model that PCA does as well with fewer bits; JPEG has a dear minimum.
    assert scores.metrics["pca_bits"] < scores.metrics["code_bits"] < scores.metrics["jpeg_bits"]
    assert scores.beats_baseline == {"compression_pca": False, "compression_jpeg": True}


def test_a_rival_that_cannot_reach_the_error_is_beaten(material: EvaluationData) -> None:
    # A code of all components, decoded by them, against one component: PCA cannot follow.
    class Linear(Autoencoder):
        def decode(self, code: Any) -> Any:
            import torch

            return torch.from_numpy(material.pca.rebuilt(code.numpy()))

    full = tuple(material.pca.coefficients(part, 200) for part in material.pixels)
    one = tuple(part[:, :1] for part in material.pca_code)
    strong = dataclasses.replace(
        material,
        model=Linear(Architecture((28, 28), (12,), "sigmoid", "relu", "sigmoid")),
        code=full,
        pca_code=one,
    )
    scores = score("compression", strong)
    assert scores.metrics["pca_bits"] is None
    assert scores.beats_baseline["compression_pca"] is True


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", TASKS)
def test_codes_of_zeros_and_dead_units_can_be_scored(material: EvaluationData, name: str) -> None:
    sparse = [np.where(part > 0.55, part, 0).astype(np.float32) for part in material.code]
    for part in sparse:
        part[:, 3:6] = 0
    dead = [np.zeros_like(part) for part in sparse]
    for code in (sparse, dead):
        scores = score(name, dataclasses.replace(material, code=tuple(code)))
        assert all(value is None or np.isfinite(value) for value in scores.metrics.values())


def test_the_same_material_gives_the_same_scores(material: EvaluationData) -> None:
    for name in TASKS:
        assert score(name, material) == score(name, material)
    other = score("few_labels", material, seed=1)
    assert other.metrics != score("few_labels", material).metrics
