"""The tables of results and the verdicts in sentences, for the report and the terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rhobeta.metrics.downstream.tasks import NEED_IMAGES, NEED_LABELS, TASKS, by_setting
from rhobeta.metrics.sparsity import RARE
from rhobeta.reporting.texts import Metrics, TaskText, task_texts
from rhobeta.reporting.words import has_labels, words_of


def _reconstruction(metrics: Metrics) -> dict[str, str]:
    """What reconstruction is compared with in words, by key in the metrics."""
    rivals = {
        "mean_image": f"the mean {words_of(metrics).one}",
        "pca": "PCA of the same size",
        "pca_clipped": "PCA clipped to [0, 1]",
        "pca_active": "PCA of {pca_active_components} components, as many as active units",
    }
    baselines = metrics["baselines"]
    return {
        key: words.format(**baselines) for key, words in rivals.items() if f"{key}_mse" in baselines
    }


_MEANING = {
    "mean_image": "without a code; lower is better",
    "pca": "the best linear code of as many numbers, all of them in use; a sparse code has to do"
    " with few at a time",
    "pca_clipped": "the same, with what lies outside of [0, 1] cut off",
    "pca_active": "the best linear code of as many numbers as are active in the sparse one",
}
"""What each comparison of reconstruction means, by key in the metrics."""


def _probe(metrics: Metrics) -> dict[str, str]:
    """What the linear probe is compared with in words, by key; nothing without labels."""
    if not has_labels(metrics):
        return {}
    rivals = {
        "pixel_probe": f"raw {words_of(metrics).features}",
        "pca_probe": "PCA of the same size",
        "random_probe": "a random encoder of the same size",
    }
    return {key: words for key, words in rivals.items() if key in metrics["baselines"]}


@dataclass(frozen=True)
class ResultRow:
    """One line of a table of results."""

    name: str
    value: str
    baseline: str = ""
    verdict: str = ""
    meaning: str = ""


def result_rows(metrics: Metrics) -> list[ResultRow]:
    """The core results, each beside its baseline with a verdict."""
    test, baselines, beats = metrics["test"], metrics["baselines"], metrics["beats_baseline"]
    words, rho = words_of(metrics), test.get("rho_target")
    l0 = {name.removeprefix("l0_at_"): v for name, v in test.items() if name.startswith("l0_at_")}
    return [
        *(_image_rows(metrics) if words.images else _vector_rows(metrics)),
        *(
            ResultRow(
                f"Linear probe against {rival}",
                f"{test['probe']:.2%}",
                f"{baselines[key]:.2%}",
                verdict(beats[key]),
                "accuracy of a linear classifier on the code",
            )
            for key, rival in _probe(metrics).items()
        ),
        ResultRow(
            "Mean activation",
            f"{test['rho_hat_mean']:.4f}",
            "" if rho is None else f"rho {rho:g}",
            "",
            f"mean over units; they range from {test['rho_hat_min']:.4f} to"
            f" {test['rho_hat_max']:.4f}",
        ),
        *(
            ResultRow(
                f"L0 above {threshold}", f"{value:.1f}", meaning=f"active units per {words.one}"
            )
            for threshold, value in l0.items()
        ),
        ResultRow("Gini", f"{test['gini']:.3f}", meaning="0: even code; towards 1: sparse"),
        ResultRow("Hoyer", f"{test['hoyer']:.3f}", meaning="0: even code; 1: one active unit"),
        ResultRow(
            "Treves-Rolls", f"{test['treves_rolls']:.3f}", meaning="1: even code; towards 0: sparse"
        ),
        ResultRow(
            "Dead, constant, saturated units",
            f"{test['dead_units']}, {test['constant_units']}, {test['saturated_units']}",
            "0, 0, 0",
            "",
            "units that are never active, hardly change, are never inactive",
        ),
        ResultRow(
            "Rare units",
            f"{test['rare_units']}",
            "0",
            "",
            f"units active for at most 1 in {round(1 / RARE):,} {words.many} above"
            f" {next(iter(l0))}, dead ones included",
        ),
    ]


def _image_rows(metrics: Metrics) -> list[ResultRow]:
    """Reconstruction of images: MSE leads, since pixels have one unit."""
    test, baselines, beats = metrics["test"], metrics["baselines"], metrics["beats_baseline"]
    return [
        *(
            ResultRow(
                f"MSE against {rival}",
                f"{test['mse']:.5f}",
                f"{baselines[f'{key}_mse']:.5f}",
                verdict(beats[key]),
                _MEANING[key],
            )
            for key, rival in _reconstruction(metrics).items()
        ),
        ResultRow(
            "FVU", _shown(test["fvu"], "{:.3f}"), "1", "", "fraction of variance unexplained"
        ),
        ResultRow("PSNR", _shown(test["psnr_db"], "{:.2f} dB"), meaning="higher is better"),
    ]


def _vector_rows(metrics: Metrics) -> list[ResultRow]:
    """Reconstruction of vectors: FVU leads, since MSE is in the units of the data."""
    test, baselines, beats = metrics["test"], metrics["baselines"], metrics["beats_baseline"]
    # All are divided by the same variation, that of the training mean on the test rows.
    whole = baselines["mean_image_mse"]
    return [
        *(
            ResultRow(
                f"FVU against {rival}",
                _shown(test["fvu"], "{:.4f}"),
                _shown(baselines[f"{key}_mse"] / whole if whole else None, "{:.4f}"),
                verdict(beats[key]),
                _MEANING[key],
            )
            for key, rival in _reconstruction(metrics).items()
        ),
        ResultRow(
            "MSE", f"{test['mse']:.4g}", meaning="mean squared error per feature, in squared units"
        ),
    ]


def task_rows(metrics: Metrics, *, judged: bool = False) -> list[ResultRow]:
    """One row for each scored task, each of its settings and each of its rivals.

    With `judged` only those that count as baselines, each at its one setting.
    """
    return [
        ResultRow(
            text.row.format(setting=text.setting(found.setting), **metrics[task]),
            text.show(found.value),
            f"{text.rivals[found.rival].label} {text.show(found.baseline)}",
            verdict(found.better),
            text.meaning + (_classes_won(metrics[task]) if task == "anomaly" else ""),
        )
        for task, text in _texts_of_scored(metrics).items()
        for found in TASKS[task].comparisons(metrics[task])
        if not judged or found.verdict is not None
    ]


def _texts_of_scored(metrics: Metrics) -> dict[str, TaskText]:
    texts = task_texts(words_of(metrics))
    return {task: text for task, text in texts.items() if task in metrics}


def unscored_sentences(metrics: Metrics) -> list[str]:
    """What the metrics have no numbers of, and why; tasks are named as in `evaluate.tasks`."""
    sentences, left_out = [], [task for task in TASKS if task not in metrics]
    if not has_labels(metrics):
        sentences.append(
            "The data has no labels: the linear probe and the tasks that tell classes apart"
            f" ({', '.join(NEED_LABELS)}) are left out."
        )
        left_out = [task for task in left_out if task not in NEED_LABELS]
    if not words_of(metrics).images:
        sentences.append(
            f"Rows are not images: {', '.join(NEED_IMAGES)}, PSNR and the comparison with JPEG are"
            " left out."
        )
        left_out = [task for task in left_out if task not in NEED_IMAGES]
    if left_out:
        names = ", ".join(left_out)
        few = words_of(metrics).many
        sentences.append(f"Not scored: {names} (not in evaluate.tasks, or too few {few}).")
    return sentences


def verdict_sentences(metrics: Metrics) -> list[str]:
    """The number of beaten baselines, then one sentence for each subject."""
    subjects = dict(_subjects(metrics))
    verdicts = [beaten for rivals in subjects.values() for beaten in rivals.values()]
    return [
        f"This model beats {sum(verdicts)} of {len(verdicts)} baselines.",
        *(_sentence(subject, rivals) for subject, rivals in subjects.items()),
    ]


def _shown(value: float | None, form: str) -> str:
    return "not defined" if value is None else form.format(value)


def verdict(beats: bool) -> str:
    """Whether a baseline is beaten, in words."""
    return "beats it" if beats else "does not beat it"


def _subjects(metrics: Metrics) -> Iterator[tuple[str, dict[str, bool]]]:
    """What is compared, and for each of its rivals whether it is beaten."""
    beats = metrics["beats_baseline"]
    rivals, probe = _reconstruction(metrics), _probe(metrics)
    yield "Reconstruction", {words: beats[key] for key, words in rivals.items()}
    if probe:
        yield "A linear probe on the code", {words: beats[key] for key, words in probe.items()}
    for name, text in _texts_of_scored(metrics).items():
        setting = TASKS[name].decisive_setting(metrics[name])
        yield (
            text.subject.format(setting=text.setting(setting)),
            {
                text.rivals[found.rival].words: found.better
                for found in TASKS[name].comparisons(metrics[name])
                if found.verdict is not None
            },
        )


def _sentence(subject: str, rivals: Mapping[str, bool]) -> str:
    beaten = " and ".join(rival for rival, won in rivals.items() if won)
    unbeaten = " or ".join(rival for rival, won in rivals.items() if not won)
    if not unbeaten:
        return f"{subject} beats {beaten}."
    if not beaten:
        return f"{subject} does not beat {unbeaten}."
    return f"{subject} beats {beaten}, but not {unbeaten}."


def _classes_won(section: Mapping[str, Any]) -> str:
    code, pca = by_setting(section, "code_auroc"), by_setting(section, "pca_auroc")
    won = sum(code[normal] > pca[normal] for normal in code)
    return f" Better for {won} of {len(code)} choices." if len(code) > 1 else ""
