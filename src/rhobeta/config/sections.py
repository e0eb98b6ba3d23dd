"""The sections of `params.yaml`: every parameter with its type, its range and a sentence."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS

Fraction = Annotated[float, Field(gt=0, lt=1)]
Threshold = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Label = Annotated[int, Field(ge=0, le=255)]
Width = Annotated[int, Field(ge=1, le=65536)]
Use = Literal["sparse_probe", "few_labels", "denoising", "anomaly", "compression"]


def _one_of(table: Mapping[str, Any]) -> Any:
    """Text that is a key of `table`, which extensions may have added to."""

    def known(name: str) -> str:
        if name in table:
            return name
        near = difflib.get_close_matches(name, table, n=1)
        hint = f". Did you mean {near[0]}?" if near else ""
        raise ValueError(f": found {name!r}, allowed: {', '.join(table)}{hint}")

    def enumerate_keys(schema: dict[str, Any]) -> None:
        schema["enum"] = list(table)

    return Annotated[str, AfterValidator(known), Field(json_schema_extra=enumerate_keys)]


def _plain(text: str) -> str:
    # "${...}" is DVC's and Hydra's: it would write a variable of the environment into the file.
    if not text.isprintable() or "${" in text:
        raise ValueError(f": found {text!a}, allowed: text without control characters and ${{")
    return text


Text = Annotated[str, AfterValidator(_plain)]


class Section(BaseModel):
    """A group of parameters: frozen, strictly typed, unknown keys refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class DataParams(Section):
    """Which images, and how they are split."""

    name: Literal["mnist", "fashion-mnist", "kmnist", "own"] = Field(
        description="The data set; `own` takes the files in data/own."
    )
    classes: Annotated[list[Label], Field(min_length=2)] | None = Field(
        description="Keep only these labels (at least two, no repeats); null keeps all."
    )
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = Field(
        description="Share of the training images held out for validation, stratified by class; "
        "0 holds out none, which needs training.keep last."
    )
    test_fraction: Annotated[float, Field(gt=0, le=0.5)] = Field(
        description="Share held out for testing where the data set has no test images of its own."
    )
    seed: Seed = Field(description="Seed of the splits.")

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: found {self.classes}, which names a label twice")
        return self


class ModelParams(Section):
    """The autoencoder's architecture."""

    hidden_sizes: Annotated[list[Width], Field(min_length=1, max_length=16)] = Field(
        description="Units of each encoder layer, the last being the code; the decoder mirrors it."
    )
    code_activation: _one_of(ACTIVATION_SPECS) = Field(description="Activation of the code.")  # type: ignore[valid-type]
    hidden_activation: Literal["sigmoid", "tanh", "relu"] = Field(
        description="Activation of the layers between input and code, and code and output."
    )
    output_activation: Literal["sigmoid", "identity"] = Field(
        description="Activation of the reconstruction."
    )
    tied_weights: bool = Field(
        description="Whether each decoder layer has the transposed weights of its encoder layer."
    )
    unit_norm_decoder: bool = Field(
        description="Whether each unit's column of the decoder is scaled to length 1 after every "
        "step."
    )


class TopKParams(Section):
    """Codes in which the k largest units are active; without effect on other codes."""

    k: Width = Field(description="Units that are active for an image, at most the code's.")
    start: Width = Field(description="k of the first step; it falls linearly to k.")
    anneal: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Share of the training over which it falls."
    )
    auxk_coef: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Weight of the loss that lets units silent for an epoch try; 0 for none."
    )


class PenaltyParams(Section):
    """The sparsity penalty, beside the pixel loss with the weight beta."""

    kind: _one_of(PENALTY_SPECS) = Field(  # type: ignore[valid-type]
        description="What beta multiplies; none: rho and beta are not used."
    )
    rho: Fraction = Field(description="Target mean activation of every unit, for the KLs.")
    beta: Annotated[float, Field(ge=0, le=1000)] = Field(
        description="Weight of the penalty beside the pixel loss."
    )


class TrainingParams(Section):
    """How the weights are found."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = Field(description="Passes over the data.")
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="Images in a global batch, over all devices."
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Adam's step size, at its highest."
    )
    epsilon: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Adam's epsilon, added to the root of the second moment."
    )
    schedule: Literal["constant", "cosine"] = Field(
        description="cosine: one epoch of linear warm-up, then a half cosine down to zero."
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] = Field(
        description="lambda of the term lambda / 2 * (sum of squared weights, biases left out)."
    )
    pixel_loss: Literal["mse", "bce"] = Field(
        description="mse: squared error; bce: binary cross-entropy, of a sigmoid output."
    )
    noise: Annotated[float, Field(ge=0, le=10)] = Field(
        description="Standard deviation of Gaussian noise on the input; the target stays clean."
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        description="In which the network computes; bf16 and fp16 are mixed: weights, penalty and "
        "pixel loss stay float32. fp16 needs a CUDA device."
    )
    keep: Literal["best", "last"] = Field(
        description="Whose weights are kept: the epoch's of lowest validation loss, or the last's."
    )
    seed: Seed = Field(
        description="Seed of the initial weights, the order of images and the noise."
    )


class EvaluateParams(Section):
    """What is measured on the test split."""

    l0_thresholds: Annotated[list[Threshold], Field(min_length=1, max_length=10)] = Field(
        description="A unit counts as active above these; one L0 for each."
    )
    dead_threshold: Fraction = Field(
        description="A unit is dead if it never exceeds this, saturated if it never falls below "
        "one minus this."
    )
    constant_std: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="A unit is constant if its standard deviation is below this."
    )
    probe_penalty: Annotated[float, Field(gt=0, le=1e6)] = Field(
        description="Inverse L2 strength C of the logistic-regression probe."
    )
    probe_k: Width | None = Field(
        description="Active units of a topk code that serves as features; null: as in training."
    )
    probe_iterations: Annotated[int, Field(ge=10, le=100_000)] = Field(
        description="Most L-BFGS iterations of the probe."
    )
    tasks: Annotated[list[Use], Field(max_length=5)] = Field(
        description="Claimed uses of the code that are scored; an empty list for none."
    )
    sparse_probe_units: Annotated[
        list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=1, max_length=10)
    ] = Field(description="Units that the sparse probe of each class may look at.")
    few_labels: Annotated[
        list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=1, max_length=10)
    ] = Field(description="Labelled training images of each class.")
    noise: Annotated[
        list[Annotated[float, Field(gt=0, le=10)]], Field(min_length=1, max_length=10)
    ] = Field(description="Standard deviations of the Gaussian noise to be removed.")
    normal_classes: Annotated[list[Label], Field(min_length=1)] | None = Field(
        description="Classes that together are normal, all others being anomalies; null: each "
        "class alone, in turn."
    )
    seed: Seed = Field(description="Seed of the drawn labels and images, and of the noise.")

    @model_validator(mode="after")
    def _lists_are_in_order(self) -> Self:
        for name in ("l0_thresholds", "sparse_probe_units", "few_labels", "noise"):
            values = getattr(self, name)
            if values != sorted(set(values)):
                raise ValueError(f"{name}: found {values}, allowed: ascending, no repeats")
        for name in ("tasks", "normal_classes"):
            values = getattr(self, name) or []
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: found {values}, allowed: no repeats")
        return self


class VisualizeParams(Section):
    """How the figures look."""

    embedding: Literal["tsne", "pca"] = Field(
        description="How codes are laid out in two dimensions."
    )
    embedding_images: Annotated[int, Field(ge=50, le=20_000)] = Field(
        description="Test images in the two-dimensional picture."
    )
    filters: Annotated[int, Field(ge=1, le=1024)] = Field(
        description="Most decoder filters drawn, and units in the atlas, the most active first."
    )
    dpi: Annotated[int, Field(ge=40, le=600)] = Field(description="Resolution of the PNG figures.")


class RuntimeParams(Section):
    """The machine: nothing here is hparams, and no stage depends on it."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field(
        description="Lightning's accelerator."
    )
    devices: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        description="Devices that train together on each node, a process each; auto: all GPUs."
    )
    nodes: Annotated[int, Field(ge=1, le=1024)] = Field(description="Machines that train together.")
    strategy: Literal["auto", "ddp"] = Field(
        description="Lightning's strategy: auto is ddp where there are several processes."
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        description="CPU threads of torch in a process; auto: one a core, shared by the processes."
    )
    checkpoint_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        description="Time between two states of a training, from which it goes on if it is killed."
    )
    experiment: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        description="MLflow experiment that runs go into."
    )
    data_folder: Text | None = Field(
        description="Folder with the data set's files, tried before any download; null for none."
    )
