"""The table of uses: what the code is good for, each number beside what it must beat.

A use stands in the metrics only where `evaluate.tasks` asks for it. The metrics hold the verdict at
one setting of each use (`beats`); at its other settings the same rule, strictly better, is applied
to the numbers themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rhobeta.reporting.rows import Row, verdict

Metrics = Mapping[str, Mapping[str, Any]]

TASKS = ("sparse_probe", "few_labels", "denoising", "anomaly", "compression")


def task_rows(metrics: Metrics) -> list[Row]:
    """One row for each use that was scored, each of its settings and each of its baselines."""
    return [row for use in TASKS if use in metrics for row in _ROWS[use](metrics)]


def unscored_tasks(metrics: Metrics) -> list[str]:
    """The uses, named as in `evaluate.tasks`, that the metrics have no numbers of."""
    return [use for use in TASKS if use not in metrics]


def by_setting(section: Mapping[str, Any], coder: str) -> dict[str, float]:
    """Values of `coder_at_setting` by setting, in the order of the metrics."""
    start = f"{coder}_at_"
    return {name.removeprefix(start): v for name, v in section.items() if name.startswith(start)}


def decisive_setting(metrics: Metrics, use: str) -> str:
    """The setting whose verdict the metrics hold.

    The most units, the fewest labels, and the middle noise (of an even number, the higher).
    """
    settings = list(by_setting(metrics[use], "code"))
    places = {"sparse_probe": -1, "few_labels": 0, "denoising": len(settings) // 2}
    return settings[places[use]]


def counted(count: str, noun: str) -> str:
    """A whole number with its noun, such as `1 unit` and `1,000 labels`."""
    return f"{int(count):,} {noun}{'' if count == '1' else 's'}"


class _Rival(NamedTuple):
    coder: str
    label: str
    beats: str | None
    """The key of its verdict; none where the metrics hold none."""


def _compared(
    metrics: Metrics,
    use: str,
    rivals: Sequence[_Rival],
    *,
    name: Callable[[str], str],
    shown: Callable[[float], str],
    meaning: str,
) -> list[Row]:
    values, beats = metrics[use], metrics["beats_baseline"]
    decisive = decisive_setting(metrics, use)
    rows = []
    for setting, value in by_setting(values, "code").items():
        for coder, label, key in rivals:
            baseline = values[f"{coder}_at_{setting}"]
            won = beats[key] if key is not None and setting == decisive else value > baseline
            row = Row(
                name(setting), shown(value), f"{label} {shown(baseline)}", verdict(won), meaning
            )
            rows.append(row)
    return rows


def _sparse_probe(metrics: Metrics) -> list[Row]:
    probe = metrics["probe"]
    whole = Row(
        "Accuracy from all units",
        _percent(probe["code_accuracy"]),
        f"PCA {_percent(probe['pca_accuracy'])}",
        verdict(metrics["beats_baseline"]["pca_probe"]),
        "The linear probe of the table above; beside it, PCA of the same size.",
    )
    rows = _compared(
        metrics,
        "sparse_probe",
        (
            _Rival("pca", "PCA", "sparse_probe_pca"),
            _Rival("pixels", "pixels", "sparse_probe_pixels"),
        ),
        name=lambda count: f"Accuracy from {counted(count, 'unit')} a class",
        shown=_percent,
        meaning="Each class is told from the rest by so few units, those that differ most; beside"
        " it, by as many principal components or raw pixels.",
    )
    return [*rows, whole]


def _few_labels(metrics: Metrics) -> list[Row]:
    return _compared(
        metrics,
        "few_labels",
        (_Rival("pca", "PCA", "few_labels_pca"), _Rival("pixels", "pixels", "few_labels_pixels")),
        name=lambda count: f"Accuracy from {counted(count, 'label')} a class",
        shown=_percent,
        meaning="A classifier on the code learns from so few labelled images of each class; beside"
        " it, one on PCA of the same size or on raw pixels.",
    )


def _denoising(metrics: Metrics) -> list[Row]:
    return _compared(
        metrics,
        "denoising",
        (_Rival("wiener", "Wiener", "wiener"), _Rival("noisy", "as it is", None)),
        name=lambda noise: f"Denoising at noise {noise}",
        shown=lambda psnr: f"{psnr:.2f} dB",
        meaning="PSNR of images with Gaussian noise of that standard deviation after a pass through"
        " the code; beside it, after the best linear filter, and left as they are.",
    )


def _anomaly(metrics: Metrics) -> list[Row]:
    section = metrics["anomaly"]
    code, pca = by_setting(section, "code_auroc"), by_setting(section, "pca_auroc")
    meaning = (
        "How surely images of unknown classes stand out from known ones by their code (0.5 is"
        " chance, 1 is perfect); beside it, by the error of PCA."
    )
    if len(code) > 1:
        won = sum(code[normal] > pca[normal] for normal in code)
        meaning += f" Better for {won} of {len(code)} known classes."
    return [
        Row(
            "Anomalies, mean AUROC" if len(code) > 1 else "Anomalies, AUROC",
            f"{section['code_auroc']:.3f}",
            f"PCA {section['pca_auroc']:.3f}",
            verdict(metrics["beats_baseline"]["anomaly_pca"]),
            meaning,
        )
    ]


def _compression(metrics: Metrics) -> list[Row]:
    section, beats = metrics["compression"], metrics["beats_baseline"]
    return [
        Row(
            f"Compression to MSE {section['mse']:.4f}",
            in_bits(section["code_bits"]),
            f"{label} {in_bits(section[f'{rival}_bits'])}",
            verdict(beats[f"compression_{rival}"]),
            "What an image takes up as a code of rounded numbers; beside it, what PCA and JPEG take"
            " for the same error.",
        )
        for rival, label in (("pca", "PCA"), ("jpeg", "JPEG"))
    ]


_ROWS = {
    "sparse_probe": _sparse_probe,
    "few_labels": _few_labels,
    "denoising": _denoising,
    "anomaly": _anomaly,
    "compression": _compression,
}


def in_bits(value: float | None) -> str:
    """A length in bits, or in words that an error is never reached."""
    return "not reached" if value is None else f"{value:,.0f} bits"


def _percent(share: float) -> str:
    return f"{share:.2%}"
