"""The sparse autoencoder as a scikit-learn estimator."""

import copy
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state, check_scalar
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor

from rhobeta.data.batches import ShuffledChunks, to_unit_interval
from rhobeta.data.gathering import Rows, rows_for_training
from rhobeta.data.rows import RowSource, file_map
from rhobeta.data.scaling import InputScale, input_scale, statistics_of
from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS, incompatibility, no_target
from rhobeta.metrics.reconstruction import ReconstructionAccumulator
from rhobeta.model.autoencoder import ACTIVATIONS, Autoencoder
from rhobeta.model.folding import folded
from rhobeta.model.inputs import INPUT_TYPES, input_rows, row_tensor
from rhobeta.model.serialization import ModelDescription, model_to_bytes
from rhobeta.training.auto import InputSettings, input_settings
from rhobeta.training.measurement import final_sparsity
from rhobeta.training.process_group import ProcessGroup
from rhobeta.training.progress import ProgressDisplay
from rhobeta.training.sparsity_control import missed_target
from rhobeta.training.steps import BATCHES_PER_CHUNK, VALIDATION_ROWS, TrainingSteps, new_steps
from rhobeta.utils.adaptive import adaptive_threads
from rhobeta.utils.files import write_bytes


class SparseAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sparse autoencoder with a KL penalty on the mean activation of every unit.

    It minimises, over the rows x of X with d features,

        mean (x - x_hat)^2 + beta * sum over units j of KL(rho || q_j),

    where a = f(W x + b) is the code, x_hat = g(V a + c) the reconstruction, and q_j the mean of
    a_j over the batch (A. Ng, CS294A Lecture notes, "Sparse autoencoder"). Its numbers are those
    of the pipeline: the same data, parameters and seed give the same weights as `rhobeta train`.

    Rows of `uint8` are read as images: 0 to 255 stand for [0, 1]. Other numbers are taken as they
    are. Where X lies in [0, 1] it is used as it is, and the output is a sigmoid. Otherwise the
    output is the identity, and training sees (x - mean) / scale; both are part of the weights
    afterwards, so that `transform` and a saved model take x itself.

    Args:
        n_components: Units of the code.
        rho: Target mean activation of every unit, in (0, 1), for the KL penalties.
        beta: Weight of the penalty, 0 or more. With a target, where it starts; "auto":
            0.064 / n_components.
        target: Activity that beta is adjusted to reach, instead of rho: a mean activation in
            (0, 1), or with `target_above` the number of active units for a row. None: beta stays.
            For the KLs and L1, not for topk. Where it is missed by more than 2 %, `fit` warns.
        target_above: Activation in [0, 1) above which a unit counts as active for the target;
            None: the target is a mean activation.
        warmup: Share of the training, 0 to 1, over which beta rises linearly from zero.
        penalty: "kl" for sigmoid and tanh codes, "kl_poisson" for relu and topk codes,
            "l1_code", "l1_weights", "none", or one that `rhobeta.extensions.penalty` registered.
        code_activation: "sigmoid", "tanh", "relu", "topk", "identity", or one that
            `rhobeta.extensions.code_activation` registered.
        hidden_layer_sizes: Units of the encoder's layers before the code; the decoder mirrors
            them.
        hidden_activation: "relu", "sigmoid" or "tanh", of those layers.
        output_activation: "sigmoid", "identity", or "auto": sigmoid where X lies in [0, 1].
        tied_weights: Whether each decoder layer has the transposed weights of its encoder layer.
        start: Initial weights: "glorot", uniform; "centred", directions of length 1 that are all
            equally likely to be active (one hidden layer); "auto": centred for relu and topk.
        unit_norm_decoder: Whether each unit's column of the decoder has length 1 in training.
        k: Units of a topk code that are active for a row.
        k_start: k of the first step, from which it falls linearly; None: `4 * k`, at most
            `n_components`.
        anneal: Share of the training over which k falls, 0 to 1.
        auxk_coef: Weight of the loss that trains units which were inactive for an epoch, for topk.
        center: Whether the mean of each feature is subtracted in training; "auto": unless X lies
            in [0, 1]. It needs an identity output.
        scale: Whether X is divided by the root mean variance of its features in training; "auto":
            unless X lies in [0, 1]. One number for all features, so that FVU keeps its meaning. It
            needs an identity output.
        max_iter: Epochs.
        batch_size: Rows of a batch.
        learning_rate: Adam's step size at its highest, in (0, 1].
        epsilon: Adam's epsilon.
        schedule: "cosine" (one epoch of warm-up, then a half cosine to zero) or "constant".
        weight_decay: lambda in lambda / 2 * sum of squared weights.
        pixel_loss: "mse", or "bce" for a sigmoid output.
        noise: Standard deviation of Gaussian noise on the input of training.
        bias_lift: How far a step raises the bias of a dead unit, in learning rates; 0, or for a
            topk code with `auxk_coef`: not at all.
        accelerator: "cpu", "cuda", "mps" or "auto": cuda where there is one, else cpu.
        random_state: Seed of initial weights, order and noise: an int, a RandomState, or None for
            another one each time.
        verbose: Whether progress is shown.

    Attributes:
        components_: Decoder directions, (n_components, n_features): how the output before its
            activation changes when a unit goes from 0 to 1.
        mean_: Mean of each feature of X, (n_features,); None for a model that was loaded.
        history_: Metrics by name, a list with a number for each epoch; `pandas.DataFrame` takes
            it. With `X_val` also those of the validation rows.
        n_iter_: Epochs that were completed.
        best_epoch_: The epoch, from 1, whose weights were kept: with `X_val` that of the lowest
            validation loss, otherwise the last.
        model_: The `rhobeta.model.autoencoder.Autoencoder`, which takes rows like those of X.
        description_: What `save` writes beside the weights.
        n_features_in_: Features of X.
        feature_names_in_: Their names, where X had names.

    Examples:
        >>> import numpy as np
        >>> from rhobeta import SparseAutoencoder
        >>> X = np.random.default_rng(0).normal(5, 1, (200, 8))
        >>> sae = SparseAutoencoder(n_components=4, max_iter=3, random_state=0).fit(X)
        >>> sae.transform(X).shape, sae.components_.shape
        ((200, 4), (4, 8))
        >>> sae.inverse_transform(sae.transform(X)).shape
        (200, 8)
    """

    def __init__(
        self,
        n_components: int = 64,
        *,
        rho: float = 0.05,
        beta: float | str = 0.003,
        target: float | None = None,
        target_above: float | None = None,
        warmup: float = 0.0,
        penalty: str = "kl",
        code_activation: str = "sigmoid",
        hidden_layer_sizes: tuple[int, ...] = (),
        hidden_activation: str = "relu",
        output_activation: str = "auto",
        tied_weights: bool = False,
        start: str = "auto",
        unit_norm_decoder: bool = False,
        k: int = 8,
        k_start: int | None = None,
        anneal: float = 0.5,
        auxk_coef: float = 0.03125,
        center: bool | str = "auto",
        scale: bool | str = "auto",
        max_iter: int = 50,
        batch_size: int = 256,
        learning_rate: float = 0.01,
        epsilon: float = 1e-8,
        schedule: str = "cosine",
        weight_decay: float = 0.0,
        pixel_loss: str = "mse",
        noise: float = 0.0,
        bias_lift: float = 3.0,
        accelerator: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.rho = rho
        self.beta = beta
        self.target = target
        self.target_above = target_above
        self.warmup = warmup
        self.penalty = penalty
        self.code_activation = code_activation
        self.hidden_layer_sizes = hidden_layer_sizes
        self.hidden_activation = hidden_activation
        self.output_activation = output_activation
        self.tied_weights = tied_weights
        self.start = start
        self.unit_norm_decoder = unit_norm_decoder
        self.k = k
        self.k_start = k_start
        self.anneal = anneal
        self.auxk_coef = auxk_coef
        self.center = center
        self.scale = scale
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.epsilon = epsilon
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.pixel_loss = pixel_loss
        self.noise = noise
        self.bias_lift = bias_lift
        self.accelerator = accelerator
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: Any = None, *, X_val: ArrayLike | None = None) -> Self:  # noqa: N803
        """Train on the rows of X.

        Args:
            X: Rows, (n_samples, n_features). Of a `numpy.memmap`, such as `numpy.load` with
                `mmap_mode="r"` opens, rows are read when they are needed, so that it may be larger
                than memory; the weights are the same.
            y: Not used.
            X_val: Rows that the loss is measured on after every epoch, (n_validation,
                n_features); the weights of its lowest loss are kept. None: the last weights are.

        Returns:
            The estimator. Ctrl-C ends the training early: it keeps the weights so far and warns.

        Raises:
            ValueError: A parameter or X is not usable; the message says why.
            rhobeta.errors.RhobetaError: Training diverged to NaN or infinity.
        """
        self._check_parameters()
        # Rows in a mapped file are checked piece by piece, and never loaded whole.
        rows = validate_data(
            self,
            X,
            dtype=(*INPUT_TYPES, np.float16),
            ensure_min_samples=2,
            ensure_all_finite=file_map(X) is None,
        )
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        source = RowSource(rows)
        found = statistics_of(source)
        if not np.isfinite([found.low, found.high]).all():
            raise ValueError("Input X contains NaN or infinity.")
        settings = input_settings(
            found.low,
            found.high,
            output_activation=self.output_activation,
            pixel_loss=self.pixel_loss,
            center=self.center,
            scale=self.scale,
        )
        params = self._sections(settings, int(seed), keep="last" if X_val is None else "best")
        scale = input_scale(source, found.mean, center=settings.center, scale=settings.scale)
        # The mean row in the numbers of training.
        mean_row = scale.exact(torch.from_numpy(found.mean))
        steps = new_steps(params, (source.features,), mean_row, images=len(source))
        device = _device(self.accelerator)
        steps.autoencoder.to(device)
        steps.start(device, ProcessGroup())
        validation = None
        if X_val is not None:
            held = check_array(X_val, dtype=(*INPUT_TYPES, np.float16), input_name="X_val")
            if held.shape[1] != source.features:
                raise ValueError(
                    f"X_val has {held.shape[1]} features, but X has {source.features}: they must"
                    " have the same."
                )
            validation = rows_for_training(RowSource(held), scale, device)
        training = rows_for_training(source, scale, device)
        with adaptive_threads() if device.type == "cpu" else nullcontext() as steps.threads:
            self._run(steps, training, int(seed), validation, mean_row)
        self._keep(steps, source, scale, found.mean, params)
        return self

    def _run(
        self,
        steps: TrainingSteps,
        rows: Rows,
        seed: int,
        validation: Rows | None,
        mean_row: Tensor,
    ) -> None:
        optimizer = steps.new_optimizer()
        display = ProgressDisplay(steps, self.max_iter) if self.verbose else None
        try:
            for epoch in range(self.max_iter):
                steps.start_epoch()
                chunks = ShuffledChunks(
                    rows,
                    batch_size=self.batch_size,
                    seed=seed,
                    batches_per_chunk=BATCHES_PER_CHUNK,
                    epoch=epoch,
                )
                for number, chunk in enumerate(chunks):
                    steps.take(chunk, number, optimizer)
                    if display is not None:
                        display.advance(len(chunk.sizes))
                if validation is None:
                    steps.complete_epoch({})
                else:
                    steps.start_validation(mean_row)
                    for part in validation.pieces(0, len(validation), VALIDATION_ROWS):
                        steps.validate(part)
                    steps.end_validation()
                if display is not None:
                    display.end_epoch()
        except KeyboardInterrupt:
            warnings.warn(
                f"The training was interrupted after {len(steps.history)} of {self.max_iter}"
                " epochs; the weights so far are kept.",
                ConvergenceWarning,
                stacklevel=3,
            )
        finally:
            if display is not None:
                display.close()

    def _keep(
        self,
        steps: TrainingSteps,
        source: RowSource,
        scale: InputScale,
        mean: NDArray[np.float64],
        params: Any,
    ) -> None:
        if steps.history:
            model, epoch, loss = steps.kept_model(), steps.kept.epoch, steps.kept.loss
        else:
            # Interrupted in the first epoch.
            model, epoch, loss = steps.autoencoder.cpu().eval(), 1, steps.running_metrics()["loss"]
        self.model_ = folded(model, scale)
        self.mean_: NDArray[np.float64] | None = mean
        self.n_iter_ = max(1, len(steps.history))
        self.best_epoch_ = epoch
        sparsity = final_sparsity(
            steps.kept.metrics if steps.history else {},
            self.model_,
            (
                to_unit_interval(torch.from_numpy(part))
                for part in source.pieces(0, len(source), VALIDATION_ROWS)
            ),
            also_above=self.target_above,
        )
        if steps.history and (text := missed_target(params.penalty, sparsity, steps.history)):
            warnings.warn(text, ConvergenceWarning, stacklevel=3)
        self.description_ = ModelDescription(
            architecture=self.model_.architecture,
            parameters={
                f"{section}.{name}": value
                for section, values in vars(params).items()
                for name, value in vars(values).items()
            },
            data_sha256="",
            best_epoch=epoch,
            best_loss=loss,
            sparsity=sparsity,
        )
        names = dict.fromkeys(name for metrics in steps.history for name in metrics)
        self.history_ = {"epoch": list(range(1, len(steps.history) + 1))} | {
            name.replace("/", "_"): [metrics[name] for metrics in steps.history] for name in names
        }

    def transform(self, X: ArrayLike) -> Any:  # noqa: N803
        """The code of each row of X ((n_samples, n_features) -> (n_samples, n_components))."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=INPUT_TYPES, reset=False)
        return self._apply(Autoencoder.encode, rows)

    def inverse_transform(self, X: ArrayLike) -> Any:  # noqa: N803
        """The reconstruction of codes X ((n_samples, n_components) -> (n_samples, n_features))."""
        check_is_fitted(self)
        codes = check_array(X, dtype=(np.float32, np.float64))
        units = self.model_.architecture.units
        if codes.shape[1] != units:
            raise ValueError(f"X has {codes.shape[1]} components, but the code has {units} units.")
        return self._apply(Autoencoder.decode, codes)

    def encode(self, images: ArrayLike | Tensor) -> Any:
        """The code of images or rows of any shape (n, ...) with n_features values each.

        Takes arrays and tensors of any number type, also one image alone; bytes stand for [0, 1].
        Returns (n, n_components): a tensor for a tensor, float64 for float64, else float32.
        """
        return self._like(images, Autoencoder.encode, self.n_features_in_)

    def decode(self, code: ArrayLike | Tensor) -> Any:
        """The reconstruction (n, n_features) of codes (n, n_components); types as in `encode`."""
        return self._like(code, Autoencoder.decode, self.model_.architecture.units)

    def reconstruct(self, images: ArrayLike | Tensor) -> Any:
        """The reconstruction of images or rows, in their shape; types as in `encode`."""
        rebuilt = self._like(images, _reconstruct, self.n_features_in_)
        return rebuilt.reshape(np.shape(images))

    def save(self, path: str | Path) -> None:
        """Write the model file (safetensors), whole or not at all; `rhobeta.load` reads it."""
        check_is_fitted(self)
        write_bytes(Path(path), model_to_bytes(self.model_, self.description_))

    def score(self, X: ArrayLike, y: Any = None) -> float:  # noqa: N803
        """1 - FVU, the fraction of variance that the reconstruction of X explains.

        FVU = sum (x - x_hat)^2 / sum (x - mean_)^2. The score is 1 for a perfect reconstruction, 0
        for the mean of the training rows, and NaN where the rows X are that mean. A model that was
        loaded does not know that mean; there it is the mean of X.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=INPUT_TYPES, reset=False)
        mean = _mean(rows) if self.mean_ is None else self.mean_
        measured = ReconstructionAccumulator(torch.from_numpy(mean))
        for part in _pieces(rows):
            x = to_unit_interval(row_tensor(part), _float_type(rows))
            rebuilt = torch.from_numpy(self._apply(_reconstruct, part))
            measured.update(x, rebuilt)
        fvu = measured.quality().fvu
        return 1 - fvu if np.isfinite(fvu) else float("nan")

    @property
    def components_(self) -> NDArray[np.float32]:
        """Decoder directions, (n_components, n_features)."""
        check_is_fitted(self)
        return _directions(self.model_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32", "float64"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.model_.architecture.units

    def _like(
        self,
        values: ArrayLike | Tensor,
        function: Callable[[Autoencoder, Tensor], Tensor],
        width: int,
    ) -> Any:
        """A function of the network on `values` of any shape, as what `values` is."""
        check_is_fitted(self)
        found = self._apply(function, input_rows(values, width))
        return torch.from_numpy(found) if isinstance(values, Tensor) else found

    def _apply(
        self, function: Callable[[Autoencoder, Tensor], Tensor], rows: NDArray[Any]
    ) -> NDArray[Any]:
        """A function of the network on rows, in their float type: float64 for float64."""
        dtype = _float_type(rows)
        model = self.model_ if dtype == torch.float32 else copy.deepcopy(self.model_).to(dtype)
        with torch.inference_mode():
            parts = [
                function(model, to_unit_interval(row_tensor(part), dtype)) for part in _pieces(rows)
            ]
            return torch.cat(parts).numpy()

    def _sections(self, settings: InputSettings, seed: int, keep: str) -> Any:
        """The parameters as the sections of params.yaml that a training reads."""
        return SimpleNamespace(
            model=SimpleNamespace(
                hidden_sizes=[*self.hidden_layer_sizes, self.n_components],
                code_activation=self.code_activation,
                hidden_activation=self.hidden_activation,
                output_activation=settings.output_activation,
                tied_weights=self.tied_weights,
                start=self.start,
                unit_norm_decoder=self.unit_norm_decoder,
            ),
            penalty=SimpleNamespace(
                kind=self.penalty,
                rho=self.rho,
                beta=self.beta,
                target=self.target,
                target_above=self.target_above,
                warmup=self.warmup,
            ),
            topk=SimpleNamespace(
                k=self.k, start=self._k_start(), anneal=self.anneal, auxk_coef=self.auxk_coef
            ),
            training=SimpleNamespace(
                epochs=self.max_iter,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                epsilon=self.epsilon,
                schedule=self.schedule,
                weight_decay=self.weight_decay,
                pixel_loss=self.pixel_loss,
                center=settings.center,
                scale=settings.scale,
                noise=self.noise,
                bias_lift=self.bias_lift,
                precision="float32",
                keep=keep,
                seed=seed,
            ),
        )

    def _check_parameters(self) -> None:
        for name, low in (("n_components", 1), ("k", 1), ("max_iter", 1), ("batch_size", 1)):
            check_scalar(getattr(self, name), name, int | np.integer, min_val=low)
        for name, low, high, ends in (
            ("rho", 0, 1, "neither"),
            ("warmup", 0, 1, "both"),
            ("anneal", 0, 1, "both"),
            ("auxk_coef", 0, 1, "both"),
            ("learning_rate", 0, 1, "right"),
            ("epsilon", 0, 1, "right"),
            ("weight_decay", 0, 1, "both"),
            ("noise", 0, None, "left"),
            ("bias_lift", 0, None, "left"),
        ):
            number = getattr(self, name)
            check_scalar(
                number, name, float | int, min_val=low, max_val=high, include_boundaries=ends
            )
        for name, allowed in (
            ("penalty", PENALTY_SPECS),
            ("code_activation", ACTIVATION_SPECS),
            ("hidden_activation", ACTIVATIONS),
            ("start", ("auto", "glorot", "centred")),
            ("output_activation", ("auto", "sigmoid", "identity")),
            ("schedule", ("cosine", "constant")),
            ("pixel_loss", ("mse", "bce")),
            ("accelerator", ("auto", "cpu", "cuda", "mps")),
            ("center", ("auto", True, False)),
            ("scale", ("auto", True, False)),
        ):
            if getattr(self, name) not in allowed:
                known = ", ".join(map(str, allowed))
                raise ValueError(f"{name}: found {getattr(self, name)!r}, allowed: {known}")
        if reason := incompatibility(self.penalty, self.code_activation):
            raise ValueError(f"penalty: found {self.penalty!r}: {reason}")
        self._check_target()
        if ACTIVATION_SPECS[self.code_activation].takes_k and not (
            self.k <= self._k_start() <= self.n_components
        ):
            raise ValueError(
                f"k: found k={self.k} and k_start={self.k_start} with n_components="
                f"{self.n_components}, allowed: k at most k_start, k_start at most n_components"
            )

    def _check_target(self) -> None:
        if self.beta != "auto":
            check_scalar(self.beta, "beta", float | int, min_val=0)
        if self.target is None:
            for name, given in (
                ("beta", self.beta == "auto"),
                ("target_above", self.target_above is not None),
            ):
                if given:
                    raise ValueError(
                        f"{name}: found {getattr(self, name)!r} without a target, which it belongs"
                        " to"
                    )
            return
        most = 1 if self.target_above is None else self.n_components
        check_scalar(
            self.target,
            "target",
            float | int,
            min_val=0,
            max_val=most,
            include_boundaries="neither",
        )
        if self.target_above is not None:
            check_scalar(
                self.target_above,
                "target_above",
                float | int,
                min_val=0,
                max_val=1,
                include_boundaries="left",
            )
        if reason := no_target(self.penalty, self.code_activation):
            raise ValueError(f"target: found {self.target}, but {reason}")
        if self.max_iter == 1:
            raise ValueError(
                "target: found a target with max_iter 1, allowed: 2 or more, since beta is adjusted"
                " from the second epoch on"
            )

    def _k_start(self) -> int:
        return min(4 * self.k, self.n_components) if self.k_start is None else self.k_start


def _reconstruct(model: Autoencoder, x: Tensor) -> Tensor:
    found: Tensor = model(x).reconstruction
    return found


@torch.no_grad()
def _directions(model: Autoencoder) -> NDArray[np.float32]:
    units = torch.eye(model.architecture.units)
    if len(model.decoder) == 1:
        return cast(Tensor, model.decoder[0].weight).T.contiguous().numpy()
    at_rest = model.decoded(torch.zeros(1, len(units)))
    return (model.decoded(units) - at_rest).numpy()


def _mean(rows: NDArray[Any]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = rows.mean(0, dtype=np.float64)
    return mean / 255 if rows.dtype == np.uint8 else mean


def _pieces(rows: NDArray[Any]) -> list[NDArray[Any]]:
    return [rows[first : first + VALIDATION_ROWS] for first in range(0, len(rows), VALIDATION_ROWS)]


def _float_type(rows: NDArray[Any]) -> torch.dtype:
    return torch.float64 if rows.dtype == np.float64 else torch.float32


def _device(accelerator: str) -> torch.device:
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError("accelerator: found 'cuda', but torch finds no CUDA device here")
    return torch.device(accelerator)
