"""The sections of `params.yaml` that the stages read.

A parameter is one field. Its type holds its range; its docstring, which says the range and the unit
in words, is its description in the JSON schema and its comment in `params.yaml`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rhobeta.config.renamed import VALUES
from rhobeta.errors import did_you_mean
from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS

Fraction = Annotated[float, Field(gt=0, lt=1)]
Threshold = Annotated[float, Field(ge=0, lt=1)]
Strength = Annotated[float, Field(gt=0, le=1e6)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Label = Annotated[int, Field(ge=0, le=255)]
ClassName = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=4096)]
Width = Annotated[int, Field(ge=1, le=65536)]
Task = Literal["sparse_probe", "few_labels", "denoising", "anomaly", "compression"]


def _one_of(table: Mapping[str, Any]) -> Any:
    """Text that is a key of `table`, which extensions may have added to."""

    def known(name: str) -> str:
        if name in table:
            return name
        if name in VALUES:
            raise ValueError(f": found {name!r}, which is {VALUES[name]} since version 0.2")
        raise ValueError(
            f": found {name!r}, allowed: {', '.join(table)}{did_you_mean(name, table)}"
        )

    def enumerate_keys(schema: dict[str, Any]) -> None:
        schema["enum"] = list(table)

    return Annotated[str, AfterValidator(known), Field(json_schema_extra=enumerate_keys)]


def _plain(text: str) -> str:
    # DVC's Hydra would replace "${...}" by a variable of the environment.
    if not text.isprintable() or "${" in text:
        raise ValueError(f": found {text!a}, allowed: text without control characters and ${{")
    return text


Text = Annotated[str, AfterValidator(_plain)]


class ParamSection(BaseModel):
    """A group of parameters: frozen, strictly typed, without defaults or unknown keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


class DataParams(ParamSection):
    """Which data, and how they are split."""

    name: Literal["mnist", "fashion-mnist", "kmnist", "own"]
    """The data set: mnist, fashion-mnist, kmnist, or own, the files in data/own."""
    classes: Annotated[list[Label | ClassName], Field(min_length=2)] | None
    """Classes to keep, two or more: labels, 0 to 255, or names, such as [cat, dog]; null: all."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)]
    """Share of the training images, [0, 0.5], stratified by class; 0 needs training.keep last."""
    test_fraction: Annotated[float, Field(gt=0, le=0.5)]
    """Share of own data without test images that becomes the test split, (0, 0.5]."""
    labels: bool
    """false: labels of own data are left out, and all that needs them."""
    image_size: Annotated[list[Side], Field(min_length=2, max_length=2)] | None
    """[height, width], each 1 to 4096, to which own pictures are resized; null: all have one
    size."""
    color: Literal["grey", "rgb"] | None
    """grey, rgb: what own images become; null: as the files are."""
    seed: Seed
    """Seed of the splits, 0 to 4294967295."""

    @model_validator(mode="after")
    def _own_options_are_for_own_data(self) -> Self:
        given = {"labels": not self.labels, "image_size": self.image_size, "color": self.color}
        for name, value in given.items():
            if value and self.name != "own":
                found = getattr(self, name)
                raise ValueError(f"{name}: found {found}, which is for data.name own alone")
        return self

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: found {self.classes}, which names a label twice")
        return self


class ModelParams(ParamSection):
    """The autoencoder's architecture."""

    hidden_sizes: Annotated[list[Width], Field(min_length=1, max_length=16)]
    """Units of each encoder layer, 1 to 65536; the last is the code, the decoder mirrors them."""
    code_activation: _one_of(ACTIVATION_SPECS)  # type: ignore[valid-type]
    """sigmoid, tanh, relu, topk, identity, or one of extensions/; penalty.kind must fit it."""
    hidden_activation: Literal["sigmoid", "tanh", "relu"]
    """sigmoid, tanh, relu: of the layers that are neither code nor output."""
    output_activation: Literal["auto", "sigmoid", "identity"]
    """sigmoid, identity: of the reconstruction; auto: sigmoid where the training data lie in
    [0, 1], else identity."""
    tied_weights: bool
    """true: each decoder layer has the transposed weights of its encoder layer."""
    start: Literal["auto", "glorot", "centred"]
    """Initial weights: glorot, uniform; centred: directions of length 1, all equally likely to be
    active, the decoder their transpose (one hidden layer); auto: centred for relu and topk."""
    unit_norm_decoder: bool
    """true: each unit's column of the decoder is scaled to length 1 after every step."""


class PenaltyParams(ParamSection):
    """The sparsity penalty, added to the pixel loss with the weight beta."""

    kind: _one_of(PENALTY_SPECS)  # type: ignore[valid-type]
    """kl: sum over units of KL(rho || mean activation), for sigmoid and tanh codes. kl_poisson: the
    divergence that is defined for relu and topk codes. kl_tutorial: kl on them all the same.
    l1_code: sum of |activation| of an image. l1_weights: sum of |weight|. none. Or one of
    extensions/."""
    rho: Fraction | None
    """Target mean activation of every unit, (0, 1), for the KLs; null with a target."""
    beta: Annotated[float, Field(ge=0, le=1000)] | Literal["auto"]
    """Weight of the penalty, 0 to 1000; Ng's beta' = beta * pixels / 2. With a target, where it
    starts; auto: 0.064 / units."""
    target: Annotated[float, Field(gt=0, le=65536)] | None
    """Activity that beta is adjusted to reach, instead of rho: a mean activation, (0, 1), or with
    target_above the number of active units per image, (0, 65536]; null: beta stays."""
    target_above: Threshold | None
    """Activation, [0, 1), above which a unit counts as active for the target; null: the target is a
    mean activation."""
    warmup: Annotated[float, Field(ge=0, le=1)]
    """Share of the training, 0 to 1, over which beta rises linearly from zero."""


class TopKParams(ParamSection):
    """Codes of which the k largest units are active; no effect on other codes."""

    k: Width
    """Units that are active for an image, 1 to 65536, at most the code's."""
    start: Width
    """k of the first step, 1 to 65536, from k to the code's units; it falls linearly to k."""
    anneal: Annotated[float, Field(ge=0, le=1)]
    """Share of the training over which it falls, 0 to 1."""
    auxk_coef: Annotated[float, Field(ge=0, le=1)]
    """Weight, 0 to 1, of the loss that trains units inactive for an epoch; 0: none."""


class TrainingParams(ParamSection):
    """How the weights are found."""

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the training images, 1 to 100000."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    """Images in a global batch, 1 to 1000000; below rho * batch_size = 10 the KL takes a running
    mean."""
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    """Adam's step size at its highest, (0, 1]."""
    epsilon: Annotated[float, Field(gt=0, le=1)]
    """Adam's epsilon, (0, 1]; 1e-8 is PyTorch's default, 1e-7 is Keras's."""
    schedule: Literal["constant", "cosine"]
    """constant; cosine: one epoch of warm-up, then a half cosine to zero."""
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    """lambda, 0 to 1, of lambda/2 * sum of squared weights; Ng's lambda = this * pixels / 2."""
    pixel_loss: Literal["mse", "bce"]
    """mse: squared error; bce: binary cross-entropy, with model.output_activation sigmoid."""
    center: bool | Literal["auto"]
    """true: training sees x - mean of each feature; the weights take x. auto: where the output is
    the identity."""
    scale: bool | Literal["auto"]
    """true: training sees x / s, s the root mean variance of the features; the weights take x.
    auto: where the output is the identity."""
    noise: Annotated[float, Field(ge=0, le=10)]
    """Standard deviation of Gaussian noise on the input, 0 to 10; the target stays clean."""
    bias_lift: Annotated[float, Field(ge=0, le=100)]
    """How far a step raises the bias of a dead unit, 0 to 100, in learning rates; 0, or with
    topk.auxk_coef: not at all."""
    precision: Literal["float32", "bf16", "fp16"]
    """float32; bf16, fp16: mixed, the objective in float32; fp16 on CUDA devices only."""
    keep: Literal["best", "last"]
    """Whose weights are kept: best, the epoch of lowest validation loss; last."""
    seed: Seed
    """Seed of initial weights, order of images and noise, 0 to 4294967295."""


def _listed(value: Any) -> Any:
    """Files of earlier versions hold one number."""
    return [value] if isinstance(value, int | float) else value


class EvaluateParams(ParamSection):
    """What is measured on the test split."""

    l0_thresholds: Annotated[list[Threshold], Field(min_length=1, max_length=10)]
    """Activations, [0, 1), ascending; a unit counts as active above them."""
    dead_threshold: Fraction
    """Activation, (0, 1); dead: never above, saturated: never below 1 - this."""
    constant_std: Annotated[float, Field(gt=0, lt=0.5)]
    """Activation, (0, 0.5); constant: standard deviation below this."""
    probe_penalty: Annotated[
        list[Strength], Field(min_length=1, max_length=10), BeforeValidator(_listed)
    ]
    """Inverse L2 strengths C to try for a probe, (0, 1000000], ascending. Each probe takes the one
    with the lowest log-loss on validation images."""
    probe_k: Width | None
    """Active units of a topk code as features, 1 to 65536, at most the code's; null: topk.k."""
    tasks: Annotated[list[Task], Field(max_length=5)]
    """Downstream tasks that are scored: sparse_probe, few_labels, denoising, anomaly, compression;
    []: none."""
    sparse_probe_units: Annotated[
        list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=10)
    ]
    """Units for each class's probe, 1 to 65536, ascending."""
    few_labels: Annotated[
        list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=1, max_length=10)
    ]
    """Labelled images of each class, 1 to 1000000, ascending; more than a class has: left out."""
    noise: Annotated[list[Annotated[float, Field(gt=0, le=10)]], Field(min_length=1, max_length=10)]
    """Standard deviations of the noise to remove, (0, 10], ascending; pixels are in [0, 1]."""
    normal_classes: Annotated[list[Label], Field(min_length=1)] | None
    """Labels, 0 to 255, that together are normal, all others anomalies, such as [1, 3]; null: each
    class alone."""
    seed: Seed
    """Seed of drawn labels and images and of the noise, 0 to 4294967295."""

    @model_validator(mode="after")
    def _lists_are_in_order(self) -> Self:
        ascending = ("l0_thresholds", "probe_penalty", "sparse_probe_units", "few_labels", "noise")
        for name in ascending:
            values = getattr(self, name)
            if values != sorted(set(values)):
                raise ValueError(f"{name}: found {values}, allowed: ascending, no repeats")
        for name in ("tasks", "normal_classes"):
            values = getattr(self, name) or []
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: found {values}, allowed: no repeats")
        return self


class VisualizeParams(ParamSection):
    """How the figures look."""

    embedding: Literal["tsne", "pca"]
    """How codes are laid out in two dimensions: tsne, pca."""
    embedding_images: Annotated[int, Field(ge=50, le=20_000)]
    """Test images in that picture, 50 to 20000."""
    filters: Annotated[int, Field(ge=1, le=1024)]
    """Most decoder filters drawn, and units in the dashboard, 1 to 1024."""
    dpi: Annotated[int, Field(ge=40, le=600)]
    """Dots per inch of the figures, 40 to 600."""


class RuntimeParams(ParamSection):
    """The machine. No stage depends on it, and no result changes but by float rounding."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    """Lightning's accelerator: auto, cpu, cuda, mps."""
    devices: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]
    """Devices that train together on each node, 1 to 1024, a process each; auto: all GPUs."""
    nodes: Annotated[int, Field(ge=1, le=1024)]
    """Machines that train together, 1 to 1024; see docs/scaling.md."""
    strategy: Literal["auto", "ddp"]
    """Lightning's strategy, auto: ddp where there are several processes; ddp."""
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]
    """CPU threads of torch in a process, 1 to 1024; auto: one a core, fewer while they are busy."""
    data_memory: Annotated[int, Field(ge=0, le=1_048_576)]
    """MiB, 0 to 1048576, that a split may take in training's memory; of a larger one rows are read
    from its file when they are needed."""
    cpu: Literal["portable", "native"]
    """portable: results have the same bytes on every x86-64 CPU; native: all its instructions,
    other bytes."""
    checkpoint_seconds: Annotated[float, Field(ge=0, le=86_400)]
    """Seconds between two states that a killed training resumes from, 0 to 86400."""
    experiment: Annotated[Text, Field(min_length=1, max_length=200)]
    """MLflow experiment of the runs, 1 to 200 characters."""
    data_folder: Text | None
    """Folder with the data set's files, relative to the project, used before any download; null:
    none."""


class FitParams(Protocol):
    """The sections that a training reads."""

    @property
    def model(self) -> ModelParams:
        """The network."""

    @property
    def penalty(self) -> PenaltyParams:
        """The sparsity penalty."""

    @property
    def topk(self) -> TopKParams:
        """Read only for codes that take k."""

    @property
    def training(self) -> TrainingParams:
        """How the weights are found."""

    @property
    def runtime(self) -> RuntimeParams:
        """The devices and the time between checkpoints."""
