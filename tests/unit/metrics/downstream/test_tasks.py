"""The tasks together: their keys, and what each verdict compares."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from helpers import shipped_values
from helpers.task_samples import TASK_BEATS, TASK_METRICS
from rhobeta.config.sections import EvaluateParams
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.data.splits import Manifest
from rhobeta.errors import RhobetaError
from rhobeta.metrics.data_baselines import DataBaselines, require_labels
from rhobeta.metrics.downstream.tasks import (
    TASKS,
    EvaluationData,
    TaskScores,
    scorable,
    score_task,
)
from rhobeta.metrics.encoding import codes_of
from rhobeta.metrics.probe import Labels, Representation
from rhobeta.model.autoencoder import Architecture, Autoencoder

SETTINGS = EvaluateParams(
    **shipped_values()["evaluate"] | {"sparse_probe_units": [1, 3], "few_labels": [2, 5]}
)


@pytest.fixture(scope="module")
def data(digits: Samples, test_digits: Samples) -> EvaluationData:
    """Of a model that was never trained."""
    model = Autoencoder(Architecture((28, 28), (12,), "sigmoid", "relu", "sigmoid"))
    splits = (digits, test_digits, test_digits)
    pixels = Representation(*(pixels_of(split.values) for split in splits))
    labels = Labels(*(split.require_labels() for split in splits))
    return EvaluationData.prepare(
        model, pixels, labels, codes_of(model, pixels.test), baselines(pixels, labels), probe_k=None
    )


def baselines(pixels: Any, labels: Any, **changes: Any) -> DataBaselines:
    settings = SETTINGS.model_copy(update=changes)
    return DataBaselines.of_splits(pixels, labels, (28, 28), settings, data_sha256="ab" * 32)


def score(name: str, data: EvaluationData, **changes: Any) -> TaskScores:
    if changes:
        changed = baselines(data.pixels, data.labels, tasks=[name], **changes)
        data = dataclasses.replace(data, baselines=changed)
    return score_task(name, data, SETTINGS.model_copy(update=changes))


@pytest.mark.parametrize(("name", "settings"), [("sparse_probe", (1, 3)), ("few_labels", (2, 5))])
def test_accuracies_by_representation_and_setting(
    data: EvaluationData, name: str, settings: tuple[int, int]
) -> None:
    assert list(score(name, data).metrics) == [
        f"{coder}_at_{at}" for coder in ("code", "pca", "pixels") for at in settings
    ]


def test_code_equal_to_its_rival_does_not_beat_it(data: EvaluationData) -> None:
    same = dataclasses.replace(data, code=data.pixels, features=data.pixels)
    metrics = score("few_labels", same).metrics
    assert TASKS["few_labels"].beats_baseline(metrics)["few_labels_pixels"] is False
    for key, value in metrics.items():
        if key.startswith("code_at_"):
            assert value == metrics[key.replace("code", "pixels")]


def test_denoising_metrics(data: EvaluationData) -> None:
    metrics = score("denoising", data).metrics
    assert list(metrics) == [
        f"{name}_at_{sigma}" for name in ("code", "wiener", "noisy") for sigma in (0.1, 0.3, 0.5)
    ]


def test_anomaly_metrics_for_each_class_and_their_mean(data: EvaluationData) -> None:
    metrics = score("anomaly", data).metrics
    assert len(metrics) == 22
    for name in ("code", "pca"):
        single = [metrics[f"{name}_auroc_at_{label}"] for label in range(10)]
        assert metrics[f"{name}_auroc"] == pytest.approx(np.mean(single))
    assert metrics["code_auroc_at_1"] > metrics["code_auroc_at_8"] > 0.5


def test_anomaly_with_normal_classes_together(data: EvaluationData) -> None:
    metrics = score("anomaly", data, normal_classes=[5, 1]).metrics
    names = ["code_auroc", "code_auroc_at_1_5", "pca_auroc", "pca_auroc_at_1_5"]
    assert list(metrics) == names
    assert metrics["code_auroc"] == metrics["code_auroc_at_1_5"]


def test_anomaly_leaves_out_a_class_without_test_images(data: EvaluationData) -> None:
    labels = require_labels(data.labels)
    kept = labels.test != 4
    fewer = dataclasses.replace(
        data,
        labels=labels._replace(test=labels.test[kept]),
        code=data.code._replace(test=data.code.test[kept]),
        pixels=data.pixels._replace(test=data.pixels.test[kept]),
    )
    metrics = score("anomaly", fewer, seed=0).metrics
    assert "code_auroc_at_4" not in metrics
    assert len(metrics) == 20


def test_compression_gives_one_point_and_all_curves(data: EvaluationData) -> None:
    scores = score("compression", data)
    assert list(scores.metrics) == ["code_bits", "mse", "pca_bits", "jpeg_bits"]
    assert list(scores.curves) == ["code", "pca", "jpeg"]
    assert (scores.metrics["code_bits"], scores.metrics["mse"]) in scores.curves["code"]
    # An untrained model is so bad that PCA needs fewer bits; JPEG's fewest are many.
    assert scores.metrics["pca_bits"] < scores.metrics["code_bits"] < scores.metrics["jpeg_bits"]


def test_compression_of_a_rival_that_cannot_reach_the_error(data: EvaluationData) -> None:
    # A code of 200 components, decoded by them, against one component.
    class Linear(Autoencoder):
        def decode(self, code: Any) -> Any:
            import torch

            return torch.from_numpy(data.baselines.pca.rebuilt(code.numpy()))

    strong = dataclasses.replace(
        data,
        model=Linear(Architecture((28, 28), (12,), "sigmoid", "relu", "sigmoid")),
        code=Representation(*(data.baselines.pca.coefficients(x, 200) for x in data.pixels)),
        pca_code=Representation(*(part[:, :1] for part in data.pca_code)),
    )
    metrics = score("compression", strong).metrics
    assert metrics["pca_bits"] is None
    assert TASKS["compression"].beats_baseline(metrics)["compression_pca"] is True


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["anomaly", "compression"])
@pytest.mark.parametrize("scale", [0, 1])
def test_tasks_on_dead_codes_are_finite(data: EvaluationData, name: str, scale: int) -> None:
    code = Representation(
        *(np.where(part > 0.55, scale * part, 0).astype(np.float32) for part in data.code)
    )
    for part in code:
        part[:, 3:6] = 0
    metrics = score(name, dataclasses.replace(data, code=code)).metrics
    assert all(value is None or np.isfinite(value) for value in metrics.values())


def test_tasks_depend_on_the_seed_alone(data: EvaluationData) -> None:
    first, again = (score("few_labels", data) for _ in range(2))
    assert first == again
    assert score("few_labels", data, seed=1) != first


# The settings of the samples at which the verdicts are taken.
DECISIVE = {"sparse_probe": "10", "few_labels": "10", "denoising": "0.3"}


@pytest.mark.parametrize("name", TASKS)
def test_verdicts_are_taken_at_the_decisive_setting(name: str) -> None:
    metrics = TASK_METRICS[name]
    comparisons = TASKS[name].comparisons(metrics)
    assert TASKS[name].decisive_setting(metrics) == DECISIVE.get(name, "")
    judged = {c.verdict: c for c in comparisons if c.verdict is not None}
    assert {c.setting for c in judged.values()} == {DECISIVE.get(name, "")}
    assert TASKS[name].beats_baseline(metrics) == {key: TASK_BEATS[key] for key in judged}


def test_every_verdict_belongs_to_one_task() -> None:
    keys = [key for task in TASKS.values() for key in task.verdicts.values() if key]
    assert sorted(keys) == sorted(TASK_BEATS)


def test_two_noise_levels_are_judged_at_the_higher() -> None:
    section = {"code_at_0.1": 9.0, "wiener_at_0.1": 10.0, "noisy_at_0.1": 1.0}
    section |= {"code_at_0.9": 9.0, "wiener_at_0.9": 8.0, "noisy_at_0.9": 1.0}
    assert TASKS["denoising"].beats_baseline(section) == {"wiener": True}


def test_numbers_that_are_none_are_infinite_in_comparisons() -> None:
    section = {"code_at_0.1": None, "wiener_at_0.1": 50.0, "noisy_at_0.1": None}
    assert [c.better for c in TASKS["denoising"].comparisons(section)] == [True, False]
    section = {"code_bits": 9.0, "pca_bits": None, "jpeg_bits": 9.0}
    assert [c.better for c in TASKS["compression"].comparisons(section)] == [True, False]


def manifest(train: dict[str, int], test: dict[str, int]) -> Manifest:
    splits = {"train": {"per_class": train}, "test": {"per_class": test}}
    return Manifest({}, (2, 2), [int(label) for label in train], 0.1, splits, "ab" * 32)


TWO_CLASSES = manifest({"1": 30, "2": 4}, {"1": 5, "2": 5})


@pytest.mark.parametrize(
    ("counts", "kept", "tasks"),
    [([2, 4], [2, 4], 5), ([2, 5], [2], 5), ([5, 6], [], 4)],
)
def test_scorable_leaves_out_labels_that_no_class_has(
    counts: list[int], kept: list[int], tasks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scorable(SETTINGS.model_copy(update={"few_labels": counts}), TWO_CLASSES)
    assert (found.few_labels, len(found.tasks)) == (kept, tasks)
    assert ("is not scored" in capsys.readouterr().out) is (kept != counts)


@pytest.mark.parametrize(
    ("normal", "test", "told"),
    [
        ([1, 3], {"1": 5, "2": 5}, "no class 3"),
        ([1], {"1": 5}, "only images of 1"),
        ([1], {"2": 5}, "only images of 2"),
        (None, {"2": 5}, "only images of 2"),
    ],
)
def test_scorable_refuses_anomalies_that_cannot_be_scored(
    normal: list[int] | None, test: dict[str, int], told: str
) -> None:
    data = manifest({"1": 30, "2": 30}, test)
    settings = SETTINGS.model_copy(update={"normal_classes": normal})
    with pytest.raises(RhobetaError, match=told):
        scorable(settings, data)
    assert scorable(settings.model_copy(update={"tasks": ["denoising"]}), data)
    assert scorable(SETTINGS.model_copy(update={"normal_classes": [1]}), TWO_CLASSES)


def test_scorable_of_vectors_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    data = Manifest({}, (7,), [], None, {"train": {"per_class": {}}}, "ab" * 32)
    assert scorable(SETTINGS, data).tasks == ["compression"]
    assert capsys.readouterr().out.splitlines() == [
        "note: the rows are not images; not scored: denoising",
        "note: the data has no labels; not scored: linear probe, sparse probe, few labels, anomaly",
    ]


def test_compression_of_vectors_neither_clips_nor_compares_with_jpeg() -> None:
    train, test = (np.random.default_rng(seed).normal(50, 9, (40, 5)) for seed in (0, 1))
    rows = Representation(*(part.astype(np.float32) for part in (train, test, test)))
    settings = SETTINGS.model_copy(update={"tasks": ["compression"]})
    found = DataBaselines.of_splits(rows, None, (5,), settings, data_sha256="ab" * 32)
    assert (found.jpeg, found.pixel_probe) == ([], None)
    assert DataBaselines.from_bytes(found.to_bytes(), name="it").pixel_probe is None
    model = Autoencoder(Architecture((5,), (5,), "identity", "relu", "identity"))
    with torch.no_grad():
        for layer in (model.encoder[0], model.decoder[0]):
            layer.weight.copy_(torch.eye(5))
    prepared = EvaluationData.prepare(
        model, rows, None, codes_of(model, rows.test), found, probe_k=None
    )
    scores = score_task("compression", prepared, settings)
    assert list(scores.metrics) == ["code_bits", "mse", "pca_bits"]
    # The code is the row: at the finest step the error is that of rounding, clipped to no range.
    assert scores.curves["code"][-1].mse < 2
    assert scores.curves["pca"][-1].mse < 2
    assert TASKS["compression"].beats_baseline(scores.metrics).keys() == {"compression_pca"}
