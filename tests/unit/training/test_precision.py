"""Mixed precision: near to single precision, with an objective that is in single precision."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.fitting import fitted, history_of
from helpers.together import CASES, RELU
from rhobeta.data.samples import Samples
from rhobeta.model import products
from rhobeta.training.closed_form import ClosedForm, Measured

LOSSES: dict[str, dict[str, Any]] = {
    "kl": {},
    "running mean": {"penalty__rho": 0.05},
    "kl_poisson": RELU | {"penalty__kind": "kl_poisson"},
}
# Of the loss of any of ten epochs, relative to float32 on the CPU; stated in docs/scaling.md.
TOLERANCES = {"float32": 1e-3, "bf16": 5e-3, "fp16": 5e-3}


def largest_gap(digits: Samples, name: str, precision: str, accelerator: str) -> float:
    train, validation = digits.take(np.arange(500)), digits.take(np.arange(500, 600))
    changes = LOSSES[name] | {"training__epochs": 10}
    first = fitted(train, validation, **changes)
    changes |= {"training__precision": precision, "runtime__accelerator": accelerator}
    second = fitted(train, validation, **changes)
    curves = [history_of(trained)["validation_loss"] for trained in (first, second)]
    return max(abs(a - b) / a for a, b in zip(*curves, strict=True))


@pytest.mark.parametrize("name", LOSSES)
def test_bf16_is_near_to_float32(digits: Samples, name: str) -> None:
    assert 0 < largest_gap(digits, name, "bf16", "cpu") < TOLERANCES["bf16"]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_factors_alone_are_in_half_precision(
    train: Samples, validation: Samples, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: set[torch.dtype] = set()
    measured: set[torch.dtype] = set()
    plain, called = products.weight_gradient, ClosedForm.__call__

    def product(d: Tensor, x: Tensor) -> Tensor:
        factors.update((d.dtype, x.dtype))
        return plain(d, x)

    def step(self: ClosedForm, x: Tensor, *args: Any, **settings: Any) -> tuple[Measured, Tensor]:
        found, code = called(self, x, *args, **settings)
        values = (x, self.gradient, found.squared_error, found.penalty, code)
        measured.update(value.dtype for value in values)
        return found, code

    monkeypatch.setattr(products, "weight_gradient", product)
    monkeypatch.setattr(ClosedForm, "__call__", step)
    trained = fitted(train, validation, training__epochs=1, training__precision=precision)
    assert factors == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert measured == {torch.float32}
    assert {value.dtype for value in trained.model.state_dict().values()} == {torch.float32}


def test_validation_is_in_single_precision(train: Samples, validation: Samples) -> None:
    trained = fitted(train, validation, training__precision="bf16", training__keep="last")
    x = torch.from_numpy(validation.values.reshape(len(validation.values), -1) / 255)
    with torch.no_grad():
        rebuilt = trained.model(x.float()).reconstruction
    mse = (rebuilt.double() - x).square().mean().item()
    assert history_of(trained)["validation_mse"][-1] == pytest.approx(mse, rel=1e-6)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", LOSSES)
def test_a_gpu_is_near_to_the_cpu(digits: Samples, name: str, precision: str) -> None:
    assert largest_gap(digits, name, precision, "cuda") < TOLERANCES[precision]


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", [name for name in CASES if "float64" in name])
def test_in_double_precision_a_gpu_trains_as_the_cpu(digits: Samples, name: str) -> None:
    case = CASES[name]
    train, validation = digits.take(np.arange(case.train)), digits.take(np.arange(500, 570))
    curves = [
        history_of(fitted(train, validation, case.params, runtime__accelerator=accelerator))
        for accelerator in ("cpu", "cuda")
    ]
    losses = [curve["validation_loss"] for curve in curves]
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
