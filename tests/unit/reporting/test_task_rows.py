"""The table of tasks and the plain words: every number beside its baseline and verdict."""

from typing import Any

import pytest

from helpers.task_samples import USE_BEATS, USE_METRICS, with_uses
from rhobeta.reporting.plain_words import plain_words
from rhobeta.reporting.rows import Row
from rhobeta.reporting.task_rows import in_bits, task_rows, unscored_tasks

CORE: dict[str, dict[str, Any]] = {
    "probe": {"code_accuracy": 0.9316, "pixel_accuracy": 0.9233},
    "beats_baseline": {"mean_image": True, "pca": False, "pca_clipped": False, "pixel_probe": True},
}
WON, LOST = "beats it", "does not beat it"


def shown(rows: list[Row]) -> list[tuple[str, str, str, str]]:
    return [(row.name, row.value, row.baseline, row.verdict) for row in rows]


def rows_of(use: str, **beats: bool) -> list[tuple[str, str, str, str]]:
    metrics = with_uses(CORE, use)
    return shown(task_rows(metrics | {"beats_baseline": metrics["beats_baseline"] | beats}))


def test_rows_by_hand() -> None:
    assert shown(task_rows(with_uses(CORE))) == [
        ("Accuracy from 1 unit a class", "55.12%", "PCA 44.11%", WON),
        ("Accuracy from 1 unit a class", "55.12%", "pixels 36.02%", WON),
        ("Accuracy from 2 units a class", "70.34%", "PCA 71.20%", LOST),
        ("Accuracy from 2 units a class", "70.34%", "pixels 50.14%", WON),
        ("Accuracy from 10 units a class", "89.46%", "PCA 86.43%", WON),
        ("Accuracy from 10 units a class", "89.46%", "pixels 78.11%", WON),
        ("Accuracy from all units", "93.16%", "PCA 90.48%", WON),
        ("Accuracy from 10 labels a class", "77.12%", "PCA 73.91%", WON),
        ("Accuracy from 10 labels a class", "77.12%", "pixels 73.04%", WON),
        ("Accuracy from 100 labels a class", "88.90%", "PCA 87.02%", WON),
        # Equal is not better.
        ("Accuracy from 100 labels a class", "88.90%", "pixels 88.90%", LOST),
        ("Accuracy from 1,000 labels a class", "92.31%", "PCA 90.66%", WON),
        ("Accuracy from 1,000 labels a class", "92.31%", "pixels 93.20%", LOST),
        ("Denoising at noise 0.1", "18.02 dB", "Wiener 22.91 dB", LOST),
        ("Denoising at noise 0.1", "18.02 dB", "as it is 20.41 dB", LOST),
        ("Denoising at noise 0.3", "16.31 dB", "Wiener 17.14 dB", LOST),
        ("Denoising at noise 0.3", "16.31 dB", "as it is 12.20 dB", WON),
        ("Denoising at noise 0.5", "14.92 dB", "Wiener 14.83 dB", WON),
        ("Denoising at noise 0.5", "14.92 dB", "as it is 9.31 dB", WON),
        ("Anomalies, mean AUROC", "0.981", "PCA 0.936", WON),
        ("Compression to MSE 0.0155", "106 bits", "PCA 77 bits", LOST),
        ("Compression to MSE 0.0155", "106 bits", "JPEG not reached", WON),
    ]


@pytest.mark.parametrize("use", USE_METRICS)
def test_a_use_has_rows_only_where_it_was_scored(use: str) -> None:
    every = task_rows(with_uses(CORE))
    alone = task_rows(with_uses(CORE, use))
    assert alone
    assert set(alone) < set(every)
    assert unscored_tasks(with_uses(CORE, use)) == [name for name in USE_METRICS if name != use]


def test_without_uses_there_are_no_rows_and_all_are_named_as_unscored() -> None:
    assert task_rows(CORE) == []
    assert unscored_tasks(CORE) == list(USE_METRICS)
    assert unscored_tasks(with_uses(CORE)) == []


# The row that a verdict of the metrics is about: most units, fewest labels, middle noise.
DECISIVE = {
    "pca_probe": ("sparse_probe", "Accuracy from all units", "PCA"),
    "sparse_probe_pca": ("sparse_probe", "Accuracy from 10 units a class", "PCA"),
    "sparse_probe_pixels": ("sparse_probe", "Accuracy from 10 units a class", "pixels"),
    "few_labels_pca": ("few_labels", "Accuracy from 10 labels a class", "PCA"),
    "few_labels_pixels": ("few_labels", "Accuracy from 10 labels a class", "pixels"),
    "wiener": ("denoising", "Denoising at noise 0.3", "Wiener"),
    "anomaly_pca": ("anomaly", "Anomalies, mean AUROC", "PCA"),
    "compression_pca": ("compression", "Compression to MSE 0.0155", "PCA"),
    "compression_jpeg": ("compression", "Compression to MSE 0.0155", "JPEG"),
}


@pytest.mark.parametrize("key", USE_BEATS)
def test_a_verdict_of_the_metrics_is_that_of_its_own_row_and_no_other(key: str) -> None:
    use, name, label = DECISIVE[key]
    lost, won = rows_of(use, **{key: False}), rows_of(use, **{key: True})
    (changed,) = ((a, b) for a, b in zip(lost, won, strict=True) if a != b)
    assert [row[:1] + row[3:] for row in changed] == [(name, LOST), (name, WON)]
    assert changed[0][2].startswith(f"{label} ")


def test_of_two_levels_of_noise_the_higher_is_the_middle() -> None:
    section = {"code_at_0.1": 9.0, "code_at_0.9": 9.0, "noisy_at_0.1": 1.0, "noisy_at_0.9": 1.0}
    section |= {"wiener_at_0.1": 10.0, "wiener_at_0.9": 10.0}
    rows = task_rows({"denoising": section, "beats_baseline": {"wiener": True}})
    assert [row.verdict for row in rows if "Wiener" in row.baseline] == [LOST, WON]


def test_one_choice_of_known_classes_has_no_mean() -> None:
    section = {
        "code_auroc": 0.8,
        "pca_auroc": 0.7,
        "code_auroc_at_1_3": 0.8,
        "pca_auroc_at_1_3": 0.7,
    }
    (row,) = task_rows({"anomaly": section, "beats_baseline": {"anomaly_pca": True}})
    assert (row.name, row.value, row.baseline) == ("Anomalies, AUROC", "0.800", "PCA 0.700")
    assert "known classes." not in row.meaning


def test_in_how_many_classes_the_code_is_better_is_told() -> None:
    (row,) = task_rows(with_uses(CORE, "anomaly"))
    assert row.meaning.endswith("Better for 9 of 10 known classes.")


@pytest.mark.parametrize(
    ("bits", "words"),
    [(None, "not reached"), (0.0, "0 bits"), (77.4, "77 bits"), (1234.5678, "1,235 bits")],
)
def test_bits_in_words(bits: float | None, words: str) -> None:
    assert in_bits(bits) == words


def test_plain_words_by_hand() -> None:
    assert plain_words(with_uses(CORE)) == [
        "This model beats 9 of 13 baselines.",
        "Reconstruction beats the mean image, but does not beat PCA of the same size or PCA clipped"
        " to [0, 1].",
        "A linear classifier on the whole code beats one on raw pixels and one on PCA of the same"
        " size.",
        "Telling classes by 10 units each beats as many principal components and as many pixels.",
        "Learning from 10 labels a class beats raw pixels and PCA of the same size.",
        "Removing noise of 0.3 does not beat the best linear filter (Wiener).",
        "Spotting unknown classes beats the reconstruction error of PCA.",
        "Compression beats JPEG, but does not beat PCA.",
    ]


def test_plain_words_of_the_core_results_alone() -> None:
    sentences = plain_words(CORE)
    assert sentences[0] == "This model beats 2 of 4 baselines."
    assert len(sentences) == 3
    assert sentences[2] == "A linear classifier on the whole code beats one on raw pixels."


@pytest.mark.parametrize("beaten", [True, False])
def test_plain_words_follow_the_verdicts(beaten: bool) -> None:
    metrics = with_uses(CORE)
    first, *sentences = plain_words(
        metrics | {"beats_baseline": dict.fromkeys(metrics["beats_baseline"], beaten)}
    )
    assert first == f"This model beats {13 if beaten else 0} of 13 baselines."
    assert len(sentences) == 7
    assert all(("does not beat" in sentence) is not beaten for sentence in sentences)
    assert not any(", but" in sentence for sentence in sentences)
