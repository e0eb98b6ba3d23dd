"""The tables of results and the verdicts in sentences, for the report and the terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rhobeta.metrics.downstream.tasks import TASKS, by_setting
from rhobeta.metrics.sparsity import RARE
from rhobeta.reporting.texts import TASK_TEXTS, Metrics

# What the core verdicts compare the model with, by key in the metrics.
_RECONSTRUCTION = {
    "mean_image": "the mean image",
    "pca": "PCA of the same size",
    "pca_clipped": "PCA clipped to [0, 1]",
    "pca_active": "PCA of {pca_active_components} components, as many as active units",
}
_PROBE = {"pixel_probe": "raw pixels", "pca_probe": "PCA of the same size"}


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
    target = test.get("rho_target")
    l0 = {name.removeprefix("l0_at_"): v for name, v in test.items() if name.startswith("l0_at_")}
    return [
        *(
            ResultRow(
                f"MSE against {words.format(**baselines)}",
                f"{test['mse']:.5f}",
                f"{baselines[f'{key}_mse']:.5f}",
                verdict(beats[key]),
                "mean squared error per pixel; lower is better",
            )
            for key, words in _RECONSTRUCTION.items()
        ),
        ResultRow(
            "FVU", _shown(test["fvu"], "{:.3f}"), "1", "", "fraction of variance unexplained"
        ),
        ResultRow("PSNR", _shown(test["psnr_db"], "{:.2f} dB"), meaning="higher is better"),
        *(
            ResultRow(
                f"Linear probe against {words}",
                f"{test['probe']:.2%}",
                f"{baselines[key]:.2%}",
                verdict(beats[key]),
                "accuracy of a linear classifier on the code",
            )
            for key, words in _PROBE.items()
        ),
        ResultRow(
            "Mean activation",
            f"{test['rho_hat_mean']:.4f}",
            "" if target is None else f"target {target:g}",
            "",
            f"mean over units; they range from {test['rho_hat_min']:.4f} to"
            f" {test['rho_hat_max']:.4f}",
        ),
        *(
            ResultRow(f"L0 above {threshold}", f"{value:.1f}", meaning="active units per image")
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
            f"units active for at most 1 in {round(1 / RARE):,} images above"
            f" {next(iter(l0))}, dead ones included",
        ),
    ]


def task_rows(metrics: Metrics) -> list[ResultRow]:
    """One row for each scored task, each of its settings and each of its rivals."""
    return [
        ResultRow(
            text.row.format(setting=text.setting(found.setting), **metrics[task]),
            text.show(found.value),
            f"{text.rivals[found.rival].label} {text.show(found.baseline)}",
            verdict(found.better),
            text.meaning + (_classes_won(metrics[task]) if task == "anomaly" else ""),
        )
        for task, text in TASK_TEXTS.items()
        if task in metrics
        for found in TASKS[task].comparisons(metrics[task])
    ]


def unscored_tasks(metrics: Metrics) -> list[str]:
    """The tasks that the metrics have no numbers of, named as in `evaluate.tasks`."""
    return [task for task in TASK_TEXTS if task not in metrics]


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
    baselines = metrics["baselines"]
    yield (
        "Reconstruction",
        {words.format(**baselines): beats[key] for key, words in _RECONSTRUCTION.items()},
    )
    yield "A linear probe on the code", {words: beats[key] for key, words in _PROBE.items()}
    for name, text in TASK_TEXTS.items():
        if name in metrics:
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
