"""Training: against a plain loop in PyTorch, and what it keeps, records and refuses."""

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers.fitting import PARAMS, SEED, Disturb, changed, fitted, history_of
from rhobeta.config.sections import TrainingParams
from rhobeta.data.batches import permutation, pixels_of
from rhobeta.data.samples import Samples
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_to_bytes
from rhobeta.training.callbacks import epoch_metrics
from rhobeta.training.fit import Trained
from rhobeta.training.progress import ProgressDisplay
from rhobeta.training.schedules import lr_factor
from rhobeta.training.steps import TrainingSteps, architecture_of, loss_of

ARCHITECTURE = architecture_of(PARAMS, (28, 28))


@pytest.fixture(scope="module")
def trained(train: Samples, validation: Samples) -> Trained:
    return fitted(train, validation)


def bytes_of(trained: Trained) -> bytes:
    described = ModelDescription(trained.model.architecture, {}, "", trained.best_epoch, 0.0)
    return model_to_bytes(trained.model, described)


def naive_penalty(activity: Tensor, rho: float) -> Tensor:
    return naive_kl(activity.mean(0), rho)


def naive_kl(q: Tensor, rho: float) -> Tensor:
    return (rho * torch.log(rho / q) + (1 - rho) * torch.log((1 - rho) / (1 - q))).sum()


def plain_epochs(
    train: Samples, optimization: TrainingParams, rho: float
) -> Iterator[tuple[Autoencoder, dict[str, float]]]:
    """The same training with no Lightning: yields the model after each epoch, and its means."""
    # As many batches as have ten images in which a unit on target is active.
    batches = max(1.0, 10 / (rho * optimization.batch_size))
    running, number = torch.zeros(ARCHITECTURE.units), 0
    model = Autoencoder(ARCHITECTURE, seed=SEED)
    x = torch.from_numpy(pixels_of(train.values))
    steps = math.ceil(len(x) / optimization.batch_size)
    optimizer = torch.optim.Adam(model.parameters(), foreach=False, fused=False)
    for epoch in range(optimization.epochs):
        sums = dict.fromkeys(("loss", "mse", "penalty", "mean_activity"), 0.0)
        order = permutation(len(x), seed=SEED, epoch=epoch)
        for index, start in enumerate(range(0, len(x), optimization.batch_size)):
            batch = x[order[start : start + optimization.batch_size]]
            optimizer.param_groups[0]["lr"] = optimization.learning_rate * lr_factor(
                epoch * steps + index, steps, optimization.epochs, optimization.schedule
            )
            code = model.encode(batch)
            mse = (batch - model.decode(code)).square().mean()
            number += 1
            weight = max(2 / (batches + 1), 1 / number)
            q = code.mean(0)
            running = (1 - weight) * running + weight * q.detach()
            # The value of the running mean, the slope of the batch's.
            penalty = naive_kl(q + (running - q).detach(), rho)
            loss = mse + 0.01 * penalty
            optimizer.zero_grad()
            loss.backward()
            for layer in (*model.encoder, *model.decoder):
                layer.weight.grad += optimization.weight_decay * layer.weight.detach()
            optimizer.step()
            for name, value in zip(sums, (loss, mse, penalty, code.mean()), strict=True):
                sums[name] += len(batch) * value.item()
        yield model, {name: value / len(x) for name, value in sums.items()}


# Of rho times the batch of 32: 12.8, enough for a batch alone; 3.2 and 0.64, which are not.
@pytest.mark.parametrize(
    ("schedule", "rho"), [("cosine", 0.4), ("constant", 0.4), ("cosine", 0.1), ("cosine", 0.02)]
)
def test_fit_is_a_plain_loop(
    schedule: str, rho: float, train: Samples, validation: Samples
) -> None:
    # The last, whose weights the loop ends with.
    params = changed(training__schedule=schedule, training__keep="last", penalty__rho=rho)
    params = changed(params, training__bias_lift=0)
    optimization = params.training
    assert len(train.values) % optimization.batch_size != 0
    found = fitted(train, validation, params)
    history = history_of(found)
    assert found.best_epoch == optimization.epochs
    plain = list(plain_epochs(train, optimization, rho))
    for epoch, (_, means) in enumerate(plain):
        for name, value in means.items():
            assert history[f"train_{name}"][epoch] == pytest.approx(value, rel=1e-5)
    start = Autoencoder(ARCHITECTURE, seed=SEED).state_dict()
    weights = plain[-1][0].state_dict()
    for name, value in found.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-6)
        assert (value - start[name]).abs().max() > 0.01


def test_loss_falls_until_the_code_beats_the_mean_image(
    train: Samples, validation: Samples
) -> None:
    params = changed(
        training__epochs=40,
        training__learning_rate=0.02,
        training__weight_decay=0,
        penalty__rho=0.2,
    )
    history = history_of(fitted(train, validation, params))
    for split in ("train", "validation"):
        first, second, third, last = np.reshape(history[f"{split}_loss"], (4, 10)).mean(1)
        assert first > second > third > last
        # Between error and sparsity there is a trade, so that this alone need not always fall.
        penalty = history[f"{split}_penalty"]
        assert penalty[-1] < 0.3 * penalty[0]
    assert history["validation_fvu"][-1] < 0.9


def test_runs_of_one_seed_are_the_same_bytes(
    trained: Trained, train: Samples, validation: Samples
) -> None:
    torch.manual_seed(123)
    again = fitted(train, validation)
    assert bytes_of(again) == bytes_of(trained)
    assert again.history_csv == trained.history_csv
    assert again.best_metrics == trained.best_metrics


def test_chunk_size_does_not_change_the_result(
    trained: Trained,
    train: Samples,
    validation: Samples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rhobeta.training.datamodule.BATCHES_PER_CHUNK", 2)
    chunked = fitted(train, validation)
    assert bytes_of(chunked) == bytes_of(trained)
    assert chunked.history_csv == trained.history_csv


COLUMNS = [
    "epoch",
    *("train_loss", "train_mse", "train_penalty", "train_mean_activity"),
    *("validation_loss", "validation_mse", "validation_penalty", "validation_fvu"),
    *("validation_rho_target", "validation_rho_hat_mean", "validation_rho_hat_min"),
    *("validation_rho_hat_max", "validation_rho_hat_distance"),
    *("validation_l0_at_0.1", "validation_l0_at_0.5"),
    *("validation_gini", "validation_hoyer", "validation_treves_rolls"),
    *("validation_dead_units", "validation_constant_units", "validation_saturated_units"),
    "validation_rare_units",
    "learning_rate",
]


def test_history_has_a_row_for_every_epoch(trained: Trained) -> None:
    history = history_of(trained)
    assert list(history) == COLUMNS
    assert history["epoch"] == [1, 2, 3]


def test_history_has_the_last_learning_rate_of_every_epoch(trained: Trained) -> None:
    factors = [lr_factor(step, 7, 3, "cosine") for step in (6, 13, 20)]
    expected = [0.01 * factor for factor in factors]
    assert history_of(trained)["learning_rate"] == pytest.approx(expected, rel=1e-8)


def test_trained_names_its_device_and_has_a_cpu_model(trained: Trained) -> None:
    assert (trained.device, trained.world_size) == ("cpu", 1)
    assert not trained.model.training
    assert {parameter.device.type for parameter in trained.model.parameters()} == {"cpu"}


@pytest.mark.parametrize("piece", [8192, 33])
def test_validation_metrics_are_of_the_whole_split(
    piece: int,
    train: Samples,
    validation: Samples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rhobeta.training.datamodule.VALIDATION_ROWS", piece)
    found = fitted(train, validation)
    x = torch.from_numpy(pixels_of(validation.values)).double()
    mean = torch.from_numpy(pixels_of(train.values)).double().mean(0)
    with torch.no_grad():
        output = found.model.double()(x)
    mse = (x - output.reconstruction).square().mean().item()
    penalty = naive_penalty(output.code, 0.4).item()
    expected = {
        "loss": mse + 0.01 * penalty,
        "mse": mse,
        "penalty": penalty,
        "fvu": mse / (x - mean).square().mean().item(),
        "rho_hat_mean": output.code.mean().item(),
        "rho_hat_distance": (output.code.mean(0) - 0.4).abs().mean().item(),
        "l0_at_0.1": (output.code > 0.1).sum(1).double().mean().item(),
    }
    history = history_of(found)
    for name, value in expected.items():
        assert history[f"validation_{name}"][found.best_epoch - 1] == pytest.approx(value, rel=1e-5)
        assert found.best_metrics[f"validation/{name}"] == pytest.approx(value, rel=1e-5)
    names = ("rho_hat_mean", "l0_at_0.1", "l0_at_0.5", "dead_units")
    assert found.sparsity == {
        f"validation/{name}": found.best_metrics[f"validation/{name}"] for name in names
    }


def new_training() -> TrainingSteps:
    architecture = Architecture((2, 2), (3,), "sigmoid", "relu", "sigmoid")
    return TrainingSteps(PARAMS, Autoencoder(architecture), loss_of(PARAMS), images=8)


def test_kept_epoch_is_the_first_of_lowest_loss() -> None:
    steps = new_training()
    with pytest.raises(RuntimeError, match="no epoch"):
        _ = steps.kept
    kept: dict[int, NDArray[np.float32]] = {}
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.0], start=1):
        weights = steps.autoencoder.state_dict()
        steps.autoencoder.load_state_dict(
            {name: torch.full_like(value, epoch) for name, value in weights.items()}
        )
        steps.complete_epoch({"loss": loss, "mse": 10.0 * loss})
        steps.history[-1]["validation/mse"] = math.nan
        kept[epoch] = steps.kept.weights["encoder.0.weight"].unique().tolist()
    assert steps.kept.epoch == 2
    assert steps.kept.metrics.items() >= {"validation/loss": 1.0, "validation/mse": 10.0}.items()
    assert kept == {1: [1], 2: [2], 3: [2], 4: [2]}
    assert set(steps.kept.weights) == set(steps.autoencoder.state_dict())


def test_a_divergence_in_a_later_epoch_names_that_epoch(
    train: Samples, validation: Samples
) -> None:
    with pytest.raises(RhobetaError, match=r"epoch 2 .*not finite") as caught:
        fitted(train, validation, callbacks=(Disturb(2, math.nan),))
    assert "training.learning_rate" in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "code_activation", "kind"),
    [((16,), "tanh", "kl"), ((32, 24, 16), "sigmoid", "kl"), ((16,), "relu", "none")],
)
def test_other_networks_train(
    sizes: tuple[int, ...],
    code_activation: str,
    kind: str,
    train: Samples,
    validation: Samples,
) -> None:
    found = fitted(
        train,
        validation,
        model__hidden_sizes=sizes,
        model__code_activation=code_activation,
        penalty__kind=kind,
        training__epochs=5,
        training__schedule="constant",
        training__weight_decay=0,
    )
    history = history_of(found)
    assert history["train_loss"][-1] < 0.7 * history["train_loss"][0]
    assert history["validation_loss"][-1] < history["validation_loss"][0]
    assert found.model.architecture.layer_sizes == (784, *sizes)
    penalised = kind == "kl"
    assert any(history["train_penalty"]) == any(history["validation_penalty"]) == penalised
    assert ("validation_rho_hat_distance" in history) == penalised


def test_without_a_penalty_beta_is_no_matter(train: Samples, validation: Samples) -> None:
    runs = [
        fitted(train, validation, penalty__kind="none", penalty__beta=beta) for beta in (0.0, 7.0)
    ]
    assert bytes_of(runs[0]) == bytes_of(runs[1])
    history = history_of(runs[1])
    assert history["train_loss"] == history["train_mse"]
    assert history["validation_loss"] == history["validation_mse"]


class Interrupt(pl.Callback):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_what_stops_training_reaches_the_caller(
    error: type[BaseException], train: Samples, validation: Samples
) -> None:
    with pytest.raises(error):
        fitted(train, validation, callbacks=(Interrupt(error),))


def test_metrics_of_another_module_are_refused() -> None:
    with pytest.raises(TypeError, match="LightningModule"):
        epoch_metrics(pl.LightningModule())


def test_progress_without_a_terminal_is_plain_lines(
    train: Samples, validation: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fitted(train, validation)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    history = history_of(found)
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    for line, train_loss, mse in zip(
        lines, history["train_loss"], history["validation_mse"], strict=True
    ):
        assert f"loss {train_loss:.5f}" in line
        assert f"validation mse {mse:.5f}" in line
    assert "\r" not in captured.out + captured.err


def test_progress_is_a_bar_on_a_terminal(
    train: Samples,
    validation: Samples,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fitted(train, validation)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch 3/3" in captured.err
    assert "\r" in captured.err


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (1, [1]),
        (4, [1, 2, 3, 4]),
        (50, [1, *range(5, 51, 5)]),
        (1003, [1, *range(100, 1001, 100), 1003]),
    ],
)
def test_plain_lines_are_about_ten(
    epochs: int, expected: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = new_training()
    display = ProgressDisplay(steps, epochs)
    names = ("loss", "mse", "penalty", "mean_activity")
    for _ in range(epochs):
        steps.history.append({f"train/{name}": 0.5 for name in names} | {"validation/mse": 0.25})
        display.end_epoch()
    display.close()
    lines = capsys.readouterr().out.splitlines()
    shown = [line.partition(":")[0] for line in lines]
    assert shown == [f"epoch {epoch}/{epochs}" for epoch in expected]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runtime__accelerator": "cuda"}, "torch finds no CUDA device here"),
        ({"training__precision": "fp16"}, "which needs a CUDA device"),
    ],
)
def test_a_missing_device_is_refused(
    train: Samples, validation: Samples, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RhobetaError, match=message):
        fitted(train, validation, **changes)
