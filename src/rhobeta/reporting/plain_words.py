"""Which baselines are beaten and which are not, in sentences."""

from collections.abc import Iterator, Mapping

from rhobeta.reporting.task_rows import Metrics, counted, decisive_setting


def plain_words(metrics: Metrics) -> list[str]:
    """How many baselines are beaten, then one sentence for each downstream task.

    The verdicts are those of `beats` alone, at the settings that it is about.
    """
    compared = [(subject, rivals) for subject, rivals in _compared(metrics) if rivals]
    verdicts = [won for _, rivals in compared for won in rivals.values()]
    return [
        f"This model beats {sum(verdicts)} of {len(verdicts)} baselines.",
        *(_sentence(subject, rivals) for subject, rivals in compared),
    ]


def _compared(metrics: Metrics) -> Iterator[tuple[str, dict[str, bool]]]:
    beats = metrics["beats_baseline"]

    def won(rivals: Mapping[str, str]) -> dict[str, bool]:
        return {rival: bool(beats[key]) for key, rival in rivals.items() if key in beats}

    yield (
        "Reconstruction",
        won(
            {
                "mean_image": "the mean image",
                "pca": "PCA of the same size",
                "pca_clipped": "PCA clipped to [0, 1]",
            }
        ),
    )
    yield (
        "A linear classifier on the whole code",
        won({"pixel_probe": "one on raw pixels", "pca_probe": "one on PCA of the same size"}),
    )
    if "sparse_probe" in metrics:
        units = counted(decisive_setting(metrics, "sparse_probe"), "unit")
        yield (
            f"Telling classes by {units} each",
            won(
                {
                    "sparse_probe_pca": "as many principal components",
                    "sparse_probe_pixels": "as many pixels",
                }
            ),
        )
    if "few_labels" in metrics:
        labels = counted(decisive_setting(metrics, "few_labels"), "label")
        yield (
            f"Learning from {labels} a class",
            won({"few_labels_pixels": "raw pixels", "few_labels_pca": "PCA of the same size"}),
        )
    if "denoising" in metrics:
        noise = decisive_setting(metrics, "denoising")
        yield f"Removing noise of {noise}", won({"wiener": "the best linear filter (Wiener)"})
    if "anomaly" in metrics:
        yield "Spotting unknown classes", won({"anomaly_pca": "the reconstruction error of PCA"})
    if "compression" in metrics:
        yield "Compression", won({"compression_pca": "PCA", "compression_jpeg": "JPEG"})


def _sentence(subject: str, rivals: Mapping[str, bool]) -> str:
    beaten = " and ".join(rival for rival, won in rivals.items() if won)
    unbeaten = " or ".join(rival for rival, won in rivals.items() if not won)
    if not unbeaten:
        return f"{subject} beats {beaten}."
    if not beaten:
        return f"{subject} does not beat {unbeaten}."
    return f"{subject} beats {beaten}, but does not beat {unbeaten}."
