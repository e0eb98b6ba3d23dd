"""Mixed precision: near to single precision, with an objective that is in single precision."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.fitting import CPU, OBJECTIVE, OPTIMIZATION, fitted, history_of
from helpers.together import CASES, ON_RELU, RELU
from rhobeta.data.labelled import LabelledImages
from rhobeta.model.autoencoder import Output
from rhobeta.model.loss import LossTerms, SparseLoss
from rhobeta.training.devices import Machine

CUDA = Machine(accelerator="cuda")
OBJECTIVES: dict[str, dict[str, Any]] = {
    "kl": {},
    "running mean": {"objective": replace(OBJECTIVE, rho=0.05)},
    "kl_poisson": {"architecture": RELU, "objective": replace(ON_RELU, kind="kl_poisson")},
}
# Of the loss of any of ten epochs, relative to float32 on the CPU; stated in docs/gpu.md.
TOLERANCES = {"float32": 1e-3, "bf16": 5e-3, "fp16": 5e-3}


def largest_gap(digits: LabelledImages, name: str, precision: str, machine: Machine) -> float:
    train, validation = digits.take(np.arange(500)), digits.take(np.arange(500, 600))
    exact = replace(OPTIMIZATION, epochs=10)
    first = fitted(train, validation, optimization=exact, machine=CPU, **OBJECTIVES[name])
    second = fitted(
        train,
        validation,
        optimization=replace(exact, precision=precision),
        machine=machine,
        **OBJECTIVES[name],
    )
    curves = [history_of(trained)["validation_loss"] for trained in (first, second)]
    return max(abs(a - b) / a for a, b in zip(*curves, strict=True))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bf16_is_near_to_float32(digits: LabelledImages, name: str) -> None:
    gap = largest_gap(digits, name, "bf16", CPU)
    assert 0 < gap < TOLERANCES["bf16"]


class Watched(SparseLoss):
    """Notes in what it is computed."""

    seen: set[torch.dtype]

    def __call__(self, output: Output, x: Tensor, *args: Any, **kwargs: Any) -> LossTerms:
        terms = super().__call__(output, x, *args, **kwargs)
        found = [*output, x, *terms]
        self.seen.update(value.dtype for value in found)
        assert not torch.is_autocast_enabled("cpu")
        return terms


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_objective_and_the_weights_are_in_single_precision(
    train: LabelledImages, validation: LabelledImages, precision: str
) -> None:
    watched = Watched("kl", "sigmoid", rho=0.4, beta=0.01)
    object.__setattr__(watched, "seen", set())
    trained = fitted(
        train,
        validation,
        objective=watched,
        optimization=replace(OPTIMIZATION, epochs=1, precision=precision),
    )
    assert watched.seen == {torch.float32}
    assert {value.dtype for value in trained.model.state_dict().values()} == {torch.float32}


def test_what_is_measured_is_the_model_in_single_precision(
    train: LabelledImages, validation: LabelledImages
) -> None:
    optimization = replace(OPTIMIZATION, precision="bf16", keep="last")
    trained = fitted(train, validation, optimization=optimization)
    x = torch.from_numpy(validation.images.reshape(len(validation.images), -1) / 255)
    with torch.no_grad():
        rebuilt = trained.model(x.float()).reconstruction
    mse = (rebuilt.double() - x).square().mean().item()
    assert history_of(trained)["validation_mse"][-1] == pytest.approx(mse, rel=1e-6)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_gpu_is_near_to_the_cpu(digits: LabelledImages, name: str, precision: str) -> None:
    assert largest_gap(digits, name, precision, CUDA) < TOLERANCES[precision]


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", [name for name in CASES if "float64" in name])
def test_in_double_precision_a_gpu_trains_as_the_cpu(digits: LabelledImages, name: str) -> None:
    case = CASES[name]
    train, validation = digits.take(np.arange(case.train)), digits.take(np.arange(500, 570))
    curves = [
        history_of(
            fitted(
                train,
                validation,
                architecture=case.architecture,
                objective=case.objective,
                optimization=case.optimization,
                machine=machine,
            )
        )["validation_loss"]
        for machine in (CPU, CUDA)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-9)
