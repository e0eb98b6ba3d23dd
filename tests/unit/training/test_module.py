"""What a training may be asked for: other losses, noise, k, remedies, no validation."""

import csv
import io
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.fitting import SEED, Disturb, Inputs, fitted, history_of
from rhobeta.data.batches import permutation, pixels_of
from rhobeta.data.samples import Samples
from rhobeta.errors import RhobetaError
from rhobeta.training.fit import Trained

TOPK: dict[str, Any] = {
    "model__code_activation": "topk",
    "penalty__kind": "none",
    "training__weight_decay": 0,
    "topk__k": 4,
    "topk__auxk_coef": 0,
    "training__bias_lift": 0,
}


def doubles(images: Samples) -> Tensor:
    return torch.from_numpy(pixels_of(images.values)).double()


def same_weights(first: Trained, second: Trained) -> bool:
    other = second.model.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.model.state_dict().items())


def test_cross_entropy_is_minimised_and_recorded(train: Samples, validation: Samples) -> None:
    found = fitted(
        train,
        validation,
        penalty__beta=0.001,
        training__pixel_loss="bce",
        training__epochs=6,
        training__keep="last",
    )
    history = history_of(found)
    assert history["train_loss"][-1] < 0.7 * history["train_loss"][0]
    x = doubles(validation)
    with torch.no_grad():
        code, x_hat = found.model.double()(x)[1::2]
    q = code.mean(0)
    kl = (0.4 * torch.log(0.4 / q) + 0.6 * torch.log(0.6 / (1 - q))).sum().item()
    entropy = -(x * torch.log(x_hat) + (1 - x) * torch.log(1 - x_hat)).mean().item()
    assert history["validation_loss"][-1] == pytest.approx(entropy + 0.001 * kl, rel=1e-5)
    mse = (x - x_hat).square().mean().item()
    assert history["validation_mse"][-1] == pytest.approx(mse, rel=1e-5)
    assert mse < 0.5 * entropy


def test_validation_cross_entropy_by_pieces(
    train: Samples, validation: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"training__pixel_loss": "bce", "training__epochs": 1}
    whole = history_of(fitted(train, validation, **changes))
    monkeypatch.setattr("rhobeta.training.datamodule.VALIDATION_ROWS", 33)
    pieces = history_of(fitted(train, validation, **changes))
    assert pieces["validation_loss"] == pytest.approx(whole["validation_loss"], rel=1e-6)


NOISY: dict[str, Any] = {"training__noise": 0.5, "training__epochs": 2}


def test_noise_is_added_to_the_input_in_training_alone(train: Samples, validation: Samples) -> None:
    inputs = Inputs()
    changes = NOISY | {"training__batch_size": 210, "training__epochs": 1}
    found = fitted(train, validation, callbacks=(inputs,), **changes)
    (given,) = inputs.images
    x = torch.from_numpy(pixels_of(train.values))[permutation(210, seed=SEED, epoch=0)]
    noise = (given - x).double()
    assert noise.std().item() == pytest.approx(0.5, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    # The target of training, and all of validation, are clean.
    history = history_of(found)
    start = fitted(train, validation, **changes | {"training__learning_rate": 1e-30})
    with torch.no_grad():
        of_start = (x - start.model(given).reconstruction).square().mean().item()
        y = doubles(validation)
        mse = (y - found.model.double()(y).reconstruction).square().mean().item()
    assert history["train_mse"] == pytest.approx([of_start], rel=1e-5)
    assert history["validation_mse"] == pytest.approx([mse], rel=1e-5)


def test_noise_is_of_the_seed_and_new_for_every_batch(
    train: Samples, validation: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two batches a chunk, four chunks an epoch.
    monkeypatch.setattr("rhobeta.training.datamodule.BATCHES_PER_CHUNK", 2)

    def noise_of(seed: int) -> list[Tensor]:
        inputs = Inputs()
        torch.manual_seed(seed + 17)
        runs.append(fitted(train, validation, callbacks=(inputs,), training__seed=seed, **NOISY))
        x = torch.from_numpy(pixels_of(train.values))
        clean = [x[permutation(210, seed=seed, epoch=epoch)].split(32) for epoch in range(2)]
        return [a - b for a, b in zip(inputs.images, clean[0] + clean[1], strict=True)]

    runs: list[Trained] = []
    first, again, other = noise_of(1), noise_of(1), noise_of(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert same_weights(runs[0], runs[1])
    assert not any(torch.allclose(a, b, atol=0.1) for a, b in zip(first, other, strict=True))
    for index, values in enumerate(first):
        assert not any(torch.allclose(values[:18], b[:18], atol=0.1) for b in first[:index])


@pytest.mark.parametrize("is_tied", [False, True])
def test_unit_norm_decoders_have_unit_norm_at_the_end(
    is_tied: bool, train: Samples, validation: Samples
) -> None:
    found = fitted(
        train,
        validation,
        model__hidden_sizes=[24, 16],
        model__tied_weights=is_tied,
        model__unit_norm_decoder=True,
    )
    norms = found.model.decoder[0].weight.detach().norm(dim=0)
    torch.testing.assert_close(norms, torch.ones(16), rtol=0, atol=1e-6)
    assert found.model.decoder[1].weight.detach().norm(dim=0).max() > 1.01
    history = history_of(found)
    assert history["train_mse"][-1] < history["train_mse"][0]


def test_tied_weights_learn_and_stay_tied(train: Samples, validation: Samples) -> None:
    found = fitted(train, validation, model__tied_weights=True)
    assert torch.equal(found.model.decoder[0].weight, found.model.encoder[0].weight.T)
    history = history_of(found)
    assert history["train_loss"][-1] < 0.9 * history["train_loss"][0]


@pytest.mark.parametrize(("keep", "epoch"), [("best", 2), ("last", 4)])
def test_keep_best_or_last_epoch(
    keep: str, epoch: int, train: Samples, validation: Samples
) -> None:
    found = fitted(
        train,
        validation,
        callbacks=(Disturb(3, 1.0),),
        training__epochs=4,
        training__schedule="constant",
        training__keep=keep,
    )
    loss = history_of(found)["validation_loss"]
    assert 1 + int(np.argmin(loss)) == 2
    assert found.best_epoch == epoch
    assert found.best_loss == pytest.approx(loss[epoch - 1], rel=1e-8)
    x = doubles(validation)
    with torch.no_grad():
        mse = (x - found.model.double()(x).reconstruction).square().mean().item()
    assert found.best_metrics["validation/mse"] == pytest.approx(mse, rel=1e-5)


def test_history_without_validation_images(
    train: Samples, validation: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fitted(train, validation.take(np.arange(0)), training__keep="last")
    history = history_of(found)
    names = [f"train_{name}" for name in ("loss", "mse", "penalty", "mean_activity")]
    assert list(history) == ["epoch", *names, "learning_rate"]
    # DVC's plots name these, and drop a revision that has them not.
    rows = list(csv.DictReader(io.StringIO(found.history_csv)))
    empty = ("validation_loss", "validation_mse", "validation_penalty")
    assert [[row[name] for name in empty] for row in rows] == [["", "", ""]] * 3
    assert history["epoch"] == [1, 2, 3]
    assert found.best_epoch == 3
    assert found.best_loss == pytest.approx(history["train_loss"][-1], rel=1e-8)
    assert "validation" not in capsys.readouterr().out
    code = found.model.encode(torch.from_numpy(pixels_of(train.values))).detach()
    assert found.sparsity == pytest.approx(
        {
            "train/rho_hat_mean": code.mean().item(),
            "train/l0_at_0.1": (code > 0.1).sum(1).float().mean().item(),
            "train/l0_at_0.5": (code > 0.5).sum(1).float().mean().item(),
            "train/dead_units": int((code.amax(0) <= 0.1).sum()),
        }
    )
    # Validation takes no part in training.
    with_it = fitted(train, validation, training__keep="last")
    assert same_weights(found, with_it)
    assert [history_of(with_it)[name] for name in names] == [history[name] for name in names]


def test_a_divergence_without_validation_names_its_epoch(
    train: Samples, validation: Samples
) -> None:
    with pytest.raises(RhobetaError, match=r"epoch 2 .*train/loss.* not finite"):
        fitted(
            train,
            validation.take(np.arange(0)),
            callbacks=(Disturb(2, math.nan),),
            training__keep="last",
        )


def test_k_is_annealed_in_training_and_fixed_elsewhere(train: Samples, validation: Samples) -> None:
    inputs = Inputs()
    changes = TOPK | {"topk__start": 10, "topk__anneal": 0.5}
    found = fitted(train, validation, callbacks=(inputs,), **changes)
    # 10 - 6 s / 10.5, over half of 21 steps.
    assert inputs.k == [10, 9, 9, 8, 8, 7, 7, 6, 5, 5, *[4] * 11]
    code = found.model.encode(torch.from_numpy(pixels_of(validation.values)))
    assert (code > 0).sum(1).max() == 4
    # Every unit that is kept counts as active above any small threshold.
    assert max(history_of(found)["validation_l0_at_0.1"]) <= 4


def test_other_codes_are_given_no_k(train: Samples, validation: Samples) -> None:
    inputs = Inputs()
    fitted(train, validation, callbacks=(inputs,))
    assert set(inputs.k) == {None}


def test_auxk_leaves_fewer_dead_units(train: Samples, validation: Samples) -> None:
    def dead(auxk_coef: float) -> int:
        changes = TOPK | {
            "model__hidden_sizes": [96],
            "training__epochs": 40,
            "training__schedule": "constant",
            "training__keep": "last",
            "topk__k": 8,
            "topk__start": 8,
            "topk__auxk_coef": auxk_coef,
        }
        found = fitted(train, validation, **changes)
        code = found.model.encode(torch.from_numpy(pixels_of(train.values)))
        return int((code <= 0).all(0).sum())

    without, with_auxk = dead(0.0), dead(1.0)
    assert without > 25
    assert with_auxk < 0.7 * without


@pytest.mark.parametrize(
    "changes",
    [
        TOPK | {"topk__k": 8, "topk__start": 8, "training__noise": 0.3},
        {"model__code_activation": "relu", "penalty__kind": "l1_code", "penalty__beta": 0.004},
    ],
    ids=["topk, noise", "l1"],
)
def test_bias_lift_leaves_few_dead_units(changes: dict[str, Any], train: Samples) -> None:
    def dead(bias_lift: float) -> float:
        size = {"model__hidden_sizes": [96], "training__epochs": 40, "training__batch_size": 8}
        last = {"training__keep": "last", "training__bias_lift": bias_lift}
        return fitted(train, train, **changes | size | last).sparsity["validation/dead_units"]

    without = dead(0.0)
    assert without > 25
    assert dead(3.0) < 0.3 * without


@pytest.mark.parametrize(
    ("code_activation", "kind", "penalty"),
    [
        ("relu", "l1_code", lambda model, code: code.sum(1).mean()),
        (
            "relu",
            "kl_poisson",
            lambda model, code: (
                0.4 * torch.log(0.4 / code.mean(0).clamp_min(1e-10)) - 0.4 + code.mean(0)
            ).sum(),
        ),
        (
            "sigmoid",
            "l1_weights",
            lambda model, code: sum(
                layer.weight.detach().abs().sum() for layer in (*model.encoder, *model.decoder)
            ),
        ),
    ],
    ids=["l1_code", "kl_poisson", "l1_weights"],
)
def test_other_penalties_are_minimised_and_recorded(
    code_activation: str,
    kind: str,
    penalty: Any,
    train: Samples,
    validation: Samples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rhobeta.training.datamodule.VALIDATION_ROWS", 33)
    free, found = (
        fitted(
            train,
            validation,
            model__code_activation=code_activation,
            penalty__kind=kind,
            penalty__beta=beta,
            training__epochs=5,
            training__keep="last",
        )
        for beta in (0.0, 0.003)
    )
    history = history_of(found)
    assert history["train_penalty"][-1] < 0.5 * history_of(free)["train_penalty"][-1]
    assert ("validation_rho_target" in history) == (kind == "kl_poisson")
    x = doubles(validation)
    with torch.no_grad():
        code, x_hat = found.model.double()(x)[1::2]
    expected = float(penalty(found.model, code))
    assert history["validation_penalty"][-1] == pytest.approx(expected, rel=1e-5)
    loss = (x - x_hat).square().mean().item() + 0.003 * expected
    assert history["validation_loss"][-1] == pytest.approx(loss, rel=1e-5)


TUTORIAL: dict[str, Any] = {
    "model__code_activation": "relu",
    "penalty__kind": "kl_tutorial",
    "penalty__rho": 0.05,
    "penalty__beta": 0.001,
}


def test_divergence_of_kl_tutorial_is_explained(train: Samples, validation: Samples) -> None:
    with pytest.raises(RhobetaError) as caught:
        fitted(train, validation, **TUTORIAL)
    message = str(caught.value)
    assert re.match(
        r"Training has diverged: in epoch \d \w+/loss, \w+/penalty are not finite\.", message
    )
    for word in ("kl_tutorial", "kl_poisson", "log(1 - mean)", "No model was written"):
        assert word in message


def test_divergence_of_kl_tutorial_states_the_mean(train: Samples, validation: Samples) -> None:
    with pytest.raises(RhobetaError) as caught:
        fitted(
            train,
            validation,
            callbacks=(Disturb(1, 1.0),),
            **TUTORIAL | {"training__batch_size": 210},
        )
    # With weights and biases of 1: the sum of the pixels, and 1, of the only batch.
    mean = doubles(train).sum(1).mean().item() + 1
    assert f"a unit reached {mean:.3g} over a batch" in str(caught.value)


def test_divergence_for_other_reasons_blames_no_penalty(
    train: Samples, validation: Samples
) -> None:
    changes = TUTORIAL | {"model__code_activation": "sigmoid"}
    with pytest.raises(RhobetaError, match=r"Lower training\.learning_rate") as caught:
        fitted(train, validation, callbacks=(Disturb(2, math.nan),), **changes)
    assert "kl_poisson" not in str(caught.value)
