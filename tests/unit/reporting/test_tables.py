"""The tables of results and the sentences: every number beside its baseline and verdict."""

import pytest

from helpers.task_samples import CORE_METRICS, TASK_METRICS, VECTOR_METRICS, with_tasks
from rhobeta.metrics.downstream.tasks import TASKS
from rhobeta.reporting.tables import (
    ResultRow,
    result_rows,
    task_rows,
    unscored_sentences,
    verdict_sentences,
)
from rhobeta.reporting.texts import task_texts
from rhobeta.reporting.words import IMAGES, ROWS

WON, LOST = "beats it", "does not beat it"


def shown(rows: list[ResultRow]) -> list[tuple[str, str, str, str]]:
    return [(row.name, row.value, row.baseline, row.verdict) for row in rows]


def test_result_rows_by_hand() -> None:
    assert shown(result_rows(CORE_METRICS)) == [
        ("MSE against the mean image", "0.01235", "0.06710", WON),
        ("MSE against PCA of the same size", "0.01235", "0.01112", LOST),
        ("MSE against PCA clipped to [0, 1]", "0.01235", "0.01023", LOST),
        ("MSE against PCA of 7 components, as many as active units", "0.01235", "0.04123", WON),
        ("FVU", "0.183", "1", ""),
        ("PSNR", "18.24 dB", "", ""),
        ("Linear probe against raw pixels", "93.16%", "92.33%", WON),
        ("Linear probe against PCA of the same size", "93.16%", "90.48%", WON),
        ("Mean activation", "0.0512", "rho 0.05", ""),
        ("L0 above 0.1", "7.2", "", ""),
        ("L0 above 0.5", "1.5", "", ""),
        ("Gini", "0.813", "", ""),
        ("Hoyer", "0.703", "", ""),
        ("Treves-Rolls", "0.136", "", ""),
        ("Dead, constant, saturated units", "11, 12, 13", "0, 0, 0", ""),
        ("Rare units", "14", "0", ""),
    ]


def test_mean_activation_row_without_a_target() -> None:
    test = {k: v for k, v in CORE_METRICS["test"].items() if not k.startswith("rho_target")}
    (row,) = (r for r in result_rows(CORE_METRICS | {"test": test}) if r.name == "Mean activation")
    assert (row.value, row.baseline, row.verdict) == ("0.0512", "", "")
    assert "from 0.0012 to 0.2568" in row.meaning


def test_task_rows_by_hand() -> None:
    assert shown(task_rows(with_tasks())) == [
        ("Accuracy from 1 unit a class", "55.12%", "PCA 44.11%", WON),
        ("Accuracy from 1 unit a class", "55.12%", "pixels 36.02%", WON),
        ("Accuracy from 2 units a class", "70.34%", "PCA 71.20%", LOST),
        ("Accuracy from 2 units a class", "70.34%", "pixels 50.14%", WON),
        ("Accuracy from 10 units a class", "89.46%", "PCA 86.43%", WON),
        ("Accuracy from 10 units a class", "89.46%", "pixels 78.11%", WON),
        ("Accuracy from 10 labels a class", "77.12%", "PCA 73.91%", WON),
        ("Accuracy from 10 labels a class", "77.12%", "pixels 73.04%", WON),
        ("Accuracy from 100 labels a class", "88.90%", "PCA 87.02%", WON),
        # Equal is not better.
        ("Accuracy from 100 labels a class", "88.90%", "pixels 88.90%", LOST),
        ("Accuracy from 1,000 labels a class", "92.31%", "PCA 90.66%", WON),
        ("Accuracy from 1,000 labels a class", "92.31%", "pixels 93.20%", LOST),
        ("Denoising at noise 0.1", "18.02 dB", "Wiener 22.91 dB", LOST),
        ("Denoising at noise 0.1", "18.02 dB", "noisy image 20.41 dB", LOST),
        ("Denoising at noise 0.3", "16.31 dB", "Wiener 17.14 dB", LOST),
        ("Denoising at noise 0.3", "16.31 dB", "noisy image 12.20 dB", WON),
        ("Denoising at noise 0.5", "14.92 dB", "Wiener 14.83 dB", WON),
        ("Denoising at noise 0.5", "14.92 dB", "noisy image 9.31 dB", WON),
        ("Anomaly detection, AUROC", "0.981", "PCA 0.936", WON),
        ("Compression to MSE 0.0155", "106 bits", "PCA 77 bits", LOST),
        ("Compression to MSE 0.0155", "106 bits", "JPEG not reached", WON),
    ]


def test_rows_of_numbers_that_are_not_defined() -> None:
    metrics = with_tasks("denoising")
    metrics |= {"test": metrics["test"] | {"fvu": None, "psnr_db": None}}
    metrics |= {"denoising": metrics["denoising"] | {"code_at_0.1": None}}
    values = {row.name: row.value for row in result_rows(metrics)}
    assert (values["FVU"], values["PSNR"]) == ("not defined", "not defined")
    first = task_rows(metrics)[0]
    assert (first.value, first.verdict) == ("no error", WON)


def test_anomaly_row_counts_the_classes_won() -> None:
    (row,) = task_rows(with_tasks("anomaly"))
    assert row.meaning.endswith("Better for 9 of 10 choices.")
    one = {f"{name}_auroc{at}": 0.5 for name in ("code", "pca") for at in ("", "_at_1_3")}
    (row,) = task_rows(CORE_METRICS | {"anomaly": one})
    assert "choices." not in row.meaning.removesuffix("choices of known classes.")


@pytest.mark.parametrize("task", TASK_METRICS)
def test_tasks_are_shown_where_they_were_scored(task: str) -> None:
    alone = task_rows(with_tasks(task))
    assert alone
    assert set(alone) < set(task_rows(with_tasks()))
    others = ", ".join(name for name in TASK_METRICS if name != task)
    assert unscored_sentences(with_tasks(task)) == [
        f"Not scored: {others} (not in evaluate.tasks, or too few images)."
    ]


def test_tables_without_any_task() -> None:
    assert task_rows(CORE_METRICS) == []
    assert len(verdict_sentences(CORE_METRICS)) == 3


def test_every_task_and_rival_has_its_text() -> None:
    for texts in map(task_texts, (IMAGES, ROWS)):
        assert list(texts) == list(TASKS)
        for name, task in TASKS.items():
            assert list(texts[name].rivals) == list(task.verdicts)


def test_verdict_sentences_by_hand() -> None:
    assert verdict_sentences(with_tasks()) == [
        "This model beats 10 of 14 baselines.",
        "Reconstruction beats the mean image and PCA of 7 components, as many as active units, but"
        " not PCA of the same size or PCA clipped to [0, 1].",
        "A linear probe on the code beats raw pixels and PCA of the same size.",
        "Classification from 10 units a class beats as many principal components and as many"
        " pixels.",
        "Classification from 10 labels a class beats PCA of the same size and raw pixels.",
        "Denoising at noise 0.3 does not beat the best linear filter (Wiener).",
        "Anomaly detection beats the reconstruction error of PCA.",
        "Compression beats JPEG, but not PCA.",
    ]


def test_tables_of_vectors_without_labels() -> None:
    assert shown(result_rows(VECTOR_METRICS))[:5] == [
        ("FVU against the mean row", "0.2500", "1.0000", WON),
        ("FVU against PCA of the same size", "0.2500", "0.2000", LOST),
        ("FVU against PCA of 3 components, as many as active units", "0.2500", "0.4000", WON),
        ("MSE", "12.5", "", ""),
        ("Mean activation", "0.0512", "", ""),
    ]
    assert shown(task_rows(VECTOR_METRICS)) == [
        ("Compression to MSE 13.12", "26 bits", "PCA 16 bits", LOST)
    ]
    assert unscored_sentences(VECTOR_METRICS) == [
        "The data has no labels: the linear probe and the tasks that tell classes apart"
        " (sparse_probe, few_labels, anomaly) are left out.",
        "Rows are not images: denoising, PSNR and the comparison with JPEG are left out.",
    ]
    assert verdict_sentences(VECTOR_METRICS) == [
        "This model beats 2 of 4 baselines.",
        "Reconstruction beats the mean row and PCA of 3 components, as many as active units, but"
        " not PCA of the same size.",
        "Compression does not beat PCA.",
    ]


def test_vectors_that_are_all_the_mean_have_no_fvu() -> None:
    metrics = VECTOR_METRICS | {
        "test": VECTOR_METRICS["test"] | {"fvu": None},
        "baselines": VECTOR_METRICS["baselines"] | {"mean_image_mse": 0.0},
    }
    assert shown(result_rows(metrics))[0][1:3] == ("not defined", "not defined")
