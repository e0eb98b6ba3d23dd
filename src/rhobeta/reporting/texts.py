"""The words of the report: its introduction, and how to read each figure and each task."""

from dataclasses import dataclass

from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS
from rhobeta.model.loss import ng_beta
from rhobeta.model.serialization import SavedModel

_PIXEL_LOSSES = {"mse": "pixel-mean squared error", "bce": "pixel-mean binary cross-entropy"}


@dataclass(frozen=True)
class Caption:
    """A figure's title, and how to read it."""

    figure: str
    title: str
    text: str


@dataclass(frozen=True)
class RivalText:
    """What a rival of the code is called."""

    label: str
    """In the table."""
    words: str
    """In a sentence."""


@dataclass(frozen=True)
class TaskText:
    """What a downstream task is called in the table, in the sentences and at its figure."""

    row: str
    """Name of a row: `{setting}` is its setting in words, other names are those of the metrics."""
    number: str
    """Format of the numbers."""
    meaning: str
    subject: str
    """Subject of the sentence on the verdicts."""
    rivals: dict[str, RivalText]
    caption: Caption
    noun: str = ""
    """What a setting counts."""

    def setting(self, setting: str) -> str:
        """A setting in words, such as `1 unit` or `1,000 labels`."""
        if not self.noun:
            return setting
        return f"{int(setting):,} {self.noun}{'' if setting == '1' else 's'}"

    def show(self, value: float | None) -> str:
        """A number of the task in words; None is a quality that is never reached."""
        return "not reached" if value is None else self.number.format(value)


CAPTIONS = (
    Caption(
        "reconstructions",
        "Reconstructions",
        "Top: the first test image of each class. Middle: its code, as a square of units; in a"
        " sparse code few are bright. Bottom: the image that the decoder makes of the code. Blur"
        " and missing strokes are what the code does not carry.",
    ),
    Caption(
        "filters",
        "Decoder filters: what each unit draws",
        "Red adds ink, blue removes it, white does nothing. A sparse code should have local"
        " strokes. A filter that looks like noise belongs to a unit that learned nothing.",
    ),
    Caption(
        "unit_activity",
        "Mean activation of each unit",
        "The dashed line is the target rho, where there is one; the penalty pulls every bar towards"
        " it. A bar of zero is a dead unit. A few tall bars carry what most images share.",
    ),
    Caption(
        "activity",
        "Sparsity of the code",
        "Left: in a sparse code most activations lie near zero (the scale is logarithmic). Right:"
        " the number of active units per image; a narrow peak far to the left is a sparse code.",
    ),
    Caption(
        "embedding",
        "Codes in two dimensions",
        "Near points have similar codes. Islands of one colour mean that the code separates that"
        " class, though training used no labels. Distances between islands mean little.",
    ),
    Caption(
        "class_code",
        "Mean code of each class",
        "Each row is a class, each column a unit. A column that is bright in one row only belongs"
        " to a unit that is selective for that class.",
    ),
    Caption(
        "learning_curves",
        "Learning curves",
        "The dotted line marks the epoch whose weights were kept. Validation above train and rising"
        " is overfitting. A penalty that stays high means that beta is too small to reach rho.",
    ),
)

_PCA = RivalText("PCA", "PCA of the same size")

TASK_TEXTS = {
    "sparse_probe": TaskText(
        row="Accuracy from {setting} a class",
        noun="unit",
        number="{:.2%}",
        meaning="A classifier tells each class from the rest by the few units that differ most."
        " The rivals use as many principal components or raw pixels.",
        subject="Classification from {setting} a class",
        rivals={
            "pca": RivalText("PCA", "as many principal components"),
            "pixels": RivalText("pixels", "as many pixels"),
        },
        caption=Caption(
            "sparse_probe",
            "Classification from few units",
            "Each class is told from the rest by the few units that differ most. If the curve is"
            " high at the left, single units stand for classes. At the right end one classifier"
            " sees all units.",
        ),
    ),
    "few_labels": TaskText(
        row="Accuracy from {setting} a class",
        noun="label",
        number="{:.2%}",
        meaning="A classifier on the code is trained on few labelled images of each class. The"
        " rivals are trained on PCA of the same size and on raw pixels.",
        subject="Classification from {setting} a class",
        rivals={"pca": _PCA, "pixels": RivalText("pixels", "raw pixels")},
        caption=Caption(
            "few_labels",
            "Classification from few labels",
            "The code is learned without labels; the classifier on it sees this many labelled"
            " images of each class. A curve above the others at the left saves labelling.",
        ),
    ),
    "denoising": TaskText(
        row="Denoising at noise {setting}",
        number="{:.2f} dB",
        meaning="PSNR of the reconstruction of images with Gaussian noise of that standard"
        " deviation. The rivals are the best linear filter, and the noisy image itself.",
        subject="Denoising at noise {setting}",
        rivals={
            "wiener": RivalText("Wiener", "the best linear filter (Wiener)"),
            "noisy": RivalText("noisy image", "the noisy image"),
        },
        caption=Caption(
            "denoising",
            "Denoising",
            "The model reconstructs noisy images; it was trained on noise only if training.noise"
            " asked for it. It is useful where its line lies above that of the Wiener filter, the"
            " best linear one. It can hardly rise above the dotted line, its quality on clean"
            " images.",
        ),
    ),
    "anomaly": TaskText(
        row="Anomaly detection, AUROC",
        number="{:.3f}",
        meaning="How well the code separates images of unknown classes from known ones (0.5 is"
        " chance, 1 is perfect), as a mean over the choices of known classes. The rival is the"
        " reconstruction error of PCA.",
        subject="Anomaly detection",
        rivals={"pca": RivalText("PCA", "the reconstruction error of PCA")},
        caption=Caption(
            "anomaly",
            "Anomaly detection",
            "For each choice of known classes: how well the code separates images of other classes,"
            " beside the reconstruction error of PCA. The code was learned from images of all"
            " classes, without their labels.",
        ),
    ),
    "compression": TaskText(
        row="Compression to MSE {mse:.4f}",
        number="{:,.0f} bits",
        meaning="Bits per image as a code of rounded numbers; fewer are better. The rivals are PCA"
        " and JPEG at the same error.",
        subject="Compression",
        rivals={"pca": RivalText("PCA", "PCA"), "jpeg": RivalText("JPEG", "JPEG")},
        caption=Caption(
            "rate_distortion",
            "Compression",
            "Further left is smaller, further down is closer to the original. The star is the code"
            " at the coarsest rounding that costs it little. The rings are what PCA and JPEG need"
            " for the same error, or their fewest bits where their whole curve lies below it.",
        ),
    ),
}


def introduction(saved: SavedModel) -> str:
    """One sentence on code, penalty and pixel loss, with their numbers."""
    parameters = saved.description.parameters
    activation, kind = parameters["model.code_activation"], parameters["penalty.kind"]
    beta, rho = parameters["penalty.beta"], parameters["penalty.rho"]
    code = f"{'An' if activation[0] in 'aeiou' else 'A'} {activation} code"
    if ACTIVATION_SPECS[activation].takes_k:
        code += f" with {parameters['topk.k']} active units,"
    loss = _PIXEL_LOSSES[parameters["training.pixel_loss"]]
    if kind == "none":
        return f"{code} without a sparsity penalty, trained on the {loss}."
    penalty = PENALTY_SPECS[kind]
    name = "a Kullback-Leibler penalty" if kind == "kl" else f"the penalty {kind}"
    target = f" held to a mean activation of rho = {rho} by" if penalty.uses_rho else " with"
    sentence = (
        f"{code}{target} {name} ({penalty.formula}) of weight beta = {beta} beside the {loss}"
    )
    if kind == "kl" and parameters["training.pixel_loss"] == "mse":
        weight = ng_beta(float(beta), saved.model.architecture.pixels)
        sentence += f" (beta\N{PRIME} = {weight:.3g} in the units of Ng's CS294A notes)"
    return f"{sentence}."
