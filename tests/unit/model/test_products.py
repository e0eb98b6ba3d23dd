"""Products and sums whose bits are the same for any number of threads."""

import inspect
import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from rhobeta.model import products
from rhobeta.model.activations import sigmoid
from rhobeta.model.fixed_order import total

THREADS = (1, 2, 3, 4, 8, 11)


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def require_same_bits(function: Callable[[], Tensor]) -> None:
    found = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        found.append(function())
    assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize(
    ("batch", "inputs", "outputs"),
    [(256, 784, 64), (250, 777, 37), (1, 784, 64), (18, 100, 1), (2048, 784, 64), (100, 300, 1000)],
)
def test_products_are_those_of_torch_with_any_number_of_threads(
    batch: int, inputs: int, outputs: int
) -> None:
    generator = torch.Generator().manual_seed(batch)
    x, w, b, d = (
        torch.randn(shape, generator=generator)
        for shape in ((batch, inputs), (outputs, inputs), (outputs,), (batch, outputs))
    )
    pairs: list[tuple[Callable[[], Tensor], Tensor]] = [
        (lambda: products.linear(x, w, b), x @ w.T + b),
        (lambda: products.linear(x, w), x @ w.T),
        (lambda: products.linear(d, w.T), d @ w),
        (lambda: products.input_gradient(d, w), d @ w),
        (lambda: products.weight_gradient(d, x), d.T @ x),
        (lambda: products.weight_gradient(x, d), x.T @ d),
    ]
    for ours, plain in pairs:
        torch.testing.assert_close(ours(), plain, rtol=1e-4, atol=1e-3)
        require_same_bits(ours)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_the_private_function_of_torch_is_as_it_was() -> None:
    schema = "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y"  # noqa: E501
    assert str(torch.ops.mkldnn._linear_pointwise.default._schema) == schema
    # It is called nowhere else, and is not what torch.mm calls.
    assert inspect.getsource(products).count("_linear_pointwise") == 1
    with torch.profiler.profile() as profile:
        products.linear(torch.ones(2, 3), torch.ones(4, 3))
    names = {event.key for event in profile.key_averages()}
    assert "mkldnn::_linear_pointwise" in names
    assert not names & {"aten::mm", "aten::addmm", "aten::linear"}


def test_other_types_and_recorded_products_are_those_of_torch() -> None:
    x, w = torch.randn(5, 3), torch.randn(2, 3)
    assert torch.equal(products.linear(x.double(), w.double()), x.double() @ w.double().T)
    w.requires_grad_()
    products.linear(x, w).sum().backward()
    torch.testing.assert_close(w.grad, x.sum(0).expand(2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigmoids_and_sums_with_any_number_of_threads(dtype: torch.dtype) -> None:
    for shape in itertools.product((1, 97, 256, 2050), (7, 64, 777, 1000)):
        z = 4 * torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(sigmoid(z), torch.sigmoid(z))
        torch.testing.assert_close(total(z), z.sum(), rtol=1e-3, atol=1e-2)
        require_same_bits(lambda z=z: sigmoid(z))
        require_same_bits(lambda z=z: total(z))
