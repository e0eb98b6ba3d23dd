"""The words of the report on the model and on each downstream task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS
from rhobeta.model.loss import ng_beta
from rhobeta.model.serialization import SavedModel
from rhobeta.reporting.words import IMAGES, ROWS, SampleWords

Metrics = Mapping[str, Mapping[str, Any]]
"""Numbers and verdicts by section, as in `reports/details.json`."""

_LOSSES = {"mse": "mean squared error", "bce": "mean binary cross-entropy"}


@dataclass(frozen=True)
class RivalText:
    """What a rival of the code is called."""

    label: str
    """In the table."""
    words: str
    """In a sentence."""


@dataclass(frozen=True)
class TaskText:
    """What a downstream task is called in the table and in the sentences."""

    row: str
    """Name of a row: `{setting}` is its setting in words, other names are those of the metrics."""
    number: str
    """Format of the numbers."""
    meaning: str
    subject: str
    """Subject of the sentence on the verdicts."""
    rivals: dict[str, RivalText]
    noun: str = ""
    """What a setting counts."""
    undefined: str = "not reached"
    """Shown where there is no number."""

    def setting(self, setting: str) -> str:
        """A setting in words, such as `1 unit` or `1,000 labels`."""
        if not self.noun:
            return setting
        return f"{int(setting):,} {self.noun}{'' if setting == '1' else 's'}"

    def show(self, value: float | None) -> str:
        """A number of the task in words."""
        return self.undefined if value is None else self.number.format(value)


_PCA = RivalText("PCA", "PCA of the same size")


def task_texts(words: SampleWords) -> dict[str, TaskText]:
    """The words of every task by its name, for samples of one kind."""
    many, features = words.many, words.features
    return {
        "sparse_probe": TaskText(
            row="Accuracy from {setting} a class",
            noun="unit",
            number="{:.2%}",
            meaning="A classifier tells each class from the rest by the few units that differ most."
            f" The rivals use as many principal components or raw {features}.",
            subject="Classification from {setting} a class",
            rivals={
                "pca": RivalText("PCA", "as many principal components"),
                "pixels": RivalText(features, f"as many {features}"),
            },
        ),
        "few_labels": TaskText(
            row="Accuracy from {setting} a class",
            noun="label",
            number="{:.2%}",
            meaning=f"A classifier on the code is trained on few labelled {many} of each class. The"
            f" rivals are trained on PCA of the same size and on raw {features}.",
            subject="Classification from {setting} a class",
            rivals={"pca": _PCA, "pixels": RivalText(features, f"raw {features}")},
        ),
        "denoising": TaskText(
            row="Denoising at noise {setting}",
            number="{:.2f} dB",
            meaning="PSNR of the reconstruction of images with Gaussian noise of that standard"
            " deviation. The rivals are the best linear filter, and the noisy image itself.",
            subject="Denoising at noise {setting}",
            undefined="no error",
            rivals={
                "wiener": RivalText("Wiener", "the best linear filter (Wiener)"),
                "noisy": RivalText("noisy image", "the noisy image"),
            },
        ),
        "anomaly": TaskText(
            row="Anomaly detection, AUROC",
            number="{:.3f}",
            meaning=f"How well the code separates {many} of unknown classes from known ones (0.5 is"
            " chance, 1 is perfect), as a mean over the choices of known classes. The rival is the"
            " reconstruction error of PCA.",
            subject="Anomaly detection",
            rivals={"pca": RivalText("PCA", "the reconstruction error of PCA")},
        ),
        "compression": TaskText(
            row="Compression to MSE {mse:.4f}" if words.images else "Compression to MSE {mse:.4g}",
            number="{:,.0f} bits",
            meaning="Bits per image as a code of rounded numbers; fewer are better. The rivals are"
            " PCA and JPEG at the same error."
            if words.images
            else "Bits per row as a code of rounded numbers; fewer are better. The rival is PCA at"
            " the same error.",
            subject="Compression",
            rivals={"pca": RivalText("PCA", "PCA"), "jpeg": RivalText("JPEG", "JPEG")},
        ),
    }


def glossary(words: SampleWords, *, labelled: bool) -> dict[str, str]:
    """Terms of the report in plain words."""
    one, many, feature = words.one, words.many, words.feature
    an = f"{'an' if words.images else 'a'} {one}"
    terms = {
        "code": f"The activations of the hidden units for one {one}, the compressed {one}."
        " Activation is a unit's output.",
        "rho": "What the penalty asks for: the mean activation over a batch that it pulls every"
        " unit to. The larger beta, the closer the units come to it.",
        "beta": f"The weight of the penalty in the loss: loss = {feature} loss + beta * penalty.",
        "KL": "Kullback-Leibler divergence, the penalty: 0 where a unit's mean activation is rho,"
        " larger the further away it is.",
        "MSE": "Mean squared error per pixel; pixels are in [0, 1]."
        if words.images
        else "Mean squared error per feature, in the squared units of the data.",
        "FVU": "Fraction of variance unexplained: the squared error divided by that of the mean"
        f" {one}. 0 is perfect, 1 is as good as the mean {one}.",
        "PSNR": "Peak signal-to-noise ratio, -10 log10(MSE) in dB.",
        "L0": f"Number of units that are active for {an}, above a threshold.",
        "Gini": f"Inequality of the activations of {an}: 0 where all are equal, towards 1 where"
        " few units carry all.",
        "probe": "A linear classifier that is trained on the codes with labels; its accuracy says"
        " what the code holds.",
        "AUROC": f"Probability that an anomaly scores higher than a normal {one}; 0.5 is chance.",
        "baseline": f"What a simpler method reaches on the same {many}.",
    }
    left_out = {*(() if words.images else ("PSNR",)), *(() if labelled else ("probe", "AUROC"))}
    return {term: meaning for term, meaning in terms.items() if term not in left_out}


def introduction(saved: SavedModel, metrics: Metrics) -> str:
    """One sentence on code, penalty and pixel loss: what was asked for, and what was reached.

    The mean activation is that of the test split, from `metrics` (`reports/details.json`).
    """
    parameters = saved.description.parameters
    activation, kind = parameters["model.code_activation"], parameters["penalty.kind"]
    beta, rho = parameters["penalty.beta"], parameters["penalty.rho"]
    code = f"{'An' if activation[0] in 'aeiou' else 'A'} {activation} code"
    if ACTIVATION_SPECS[activation].takes_k:
        code += f" with at most {parameters['topk.k']} active units"
    words = IMAGES if saved.model.architecture.is_image else ROWS
    mean = metrics["test"]["rho_hat_mean"]
    reached = f"{code} of mean activation {mean:.4f} on test {words.many}"
    loss = f"{words.feature}-{_LOSSES[parameters['training.pixel_loss']]}"
    if kind == "none":
        return f"{reached}, trained without a sparsity penalty on the {loss}."
    penalty = PENALTY_SPECS[kind]
    name = "a Kullback-Leibler penalty" if kind == "kl" else f"the penalty {kind}"
    formula = penalty.formula.replace("images", words.many)
    asked = f" that asks for rho = {rho}" if penalty.uses_rho else ""
    sentence = (
        f"{reached}, trained with {name} ({formula}){asked} with weight beta = {beta}"
        f" beside the {loss}"
    )
    if kind == "kl" and parameters["training.pixel_loss"] == "mse":
        weight = ng_beta(float(beta), saved.model.architecture.features)
        sentence += f" (beta\N{PRIME} = {weight:.3g} in the units of Ng's CS294A notes)"
    return f"{sentence}."
