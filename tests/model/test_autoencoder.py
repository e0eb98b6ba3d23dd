"""The network: what it computes, how it starts, and what it refuses to be."""

import dataclasses
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Architecture, Autoencoder

FUNCTIONS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
    "identity": lambda v: v,
}


def architecture(**changes: Any) -> Architecture:
    values = {
        "image_shape": (3, 4),
        "hidden_sizes": (7, 5),
        "code_activation": "sigmoid",
        "hidden_activation": "relu",
        "output_activation": "sigmoid",
    }
    return Architecture(**(values | changes))


def images(count: int = 6, pixels: int = 12) -> Tensor:
    return torch.rand(count, pixels, generator=torch.Generator().manual_seed(3))


def through(layers: Any, values: NDArray[np.float64], hidden: str) -> NDArray[np.float64]:
    for index, layer in enumerate(layers):
        if index:
            values = FUNCTIONS[hidden](values)
        weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
        values = values @ weight.T + bias
    return values


@pytest.mark.parametrize("code", ["sigmoid", "tanh", "relu", "identity"])
@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("output", ["sigmoid", "identity"])
@pytest.mark.parametrize("sizes", [(5,), (7, 5), (9, 7, 5)], ids=len)
def test_forward_is_encode_then_decode_and_what_the_layers_say(
    code: str, hidden: str, output: str, sizes: tuple[int, ...]
) -> None:
    model = Autoencoder(
        architecture(
            hidden_sizes=sizes,
            code_activation=code,
            hidden_activation=hidden,
            output_activation=output,
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    x = images()
    with torch.no_grad():
        found = model(x)
        assert torch.equal(found.pre_activation, model.pre_activation(x))
        assert torch.equal(found.code, model.encode(x))
        assert torch.equal(found.reconstruction, model.decode(model.encode(x)))

    z = through(model.encoder, x.double().numpy(), hidden)
    a = FUNCTIONS[code](z)
    x_hat = FUNCTIONS[output](through(model.decoder, a, hidden))
    decoded = through(model.decoder, a, hidden)
    for values, expected in zip(found, (z, a, decoded, x_hat), strict=True):
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-4)


def set_weights(model: Autoencoder, weights: dict[str, Any]) -> None:
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})


def test_one_layer_worked_out_on_paper() -> None:
    model = Autoencoder(
        Architecture((1, 2), (1,), "relu", hidden_activation="tanh", output_activation="sigmoid")
    )
    set_weights(
        model,
        {
            "encoder.0.weight": [[1.0, 2.0]],
            "encoder.0.bias": [-1.0],
            "decoder.0.weight": [[2.0], [-3.0]],
            "decoder.0.bias": [0.5, 1.0],
        },
    )
    with torch.no_grad():
        z, code, _, reconstruction = model(torch.tensor([[1.0, 0.5], [0.5, 0.0]]))
    assert z.tolist() == [[1.0], [-0.5]]
    assert code.tolist() == [[1.0], [0.0]]
    expected = torch.tensor([[2.5, -2.0], [0.5, 1.0]]).sigmoid()
    torch.testing.assert_close(reconstruction, expected)


def test_two_layers_worked_out_on_paper() -> None:
    model = Autoencoder(
        Architecture((1, 2), (2, 1), "identity", hidden_activation="relu", output_activation="relu")
    )
    set_weights(
        model,
        {
            "encoder.0.weight": [[1.0, -3.0], [2.0, 0.0]],
            "encoder.0.bias": [0.0, -1.0],
            "encoder.1.weight": [[4.0, 3.0]],
            "encoder.1.bias": [-1.0],
            "decoder.0.weight": [[1.0], [-1.0]],
            "decoder.0.bias": [-1.0, 0.0],
            "decoder.1.weight": [[1.0, 5.0], [-2.0, 5.0]],
            "decoder.1.bias": [0.0, 0.25],
        },
    )
    # x = (1, 1/2): (-1/2, 1) -> (0, 1) -> z = 2 = a -> (1, -2) -> (1, 0) -> (1, -1.75) -> (1, 0)
    with torch.no_grad():
        z, code, _, reconstruction = model(torch.tensor([[1.0, 0.5]]))
    assert z.tolist() == [[2.0]]
    assert code.tolist() == [[2.0]]
    assert reconstruction.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("sizes", [(5,), (7, 5), (9, 7, 5)], ids=len)
def test_the_decoder_mirrors_the_encoder(sizes: tuple[int, ...]) -> None:
    model = Autoencoder(architecture(hidden_sizes=sizes))
    encoder = [(layer.in_features, layer.out_features) for layer in model.encoder]
    decoder = [(layer.in_features, layer.out_features) for layer in model.decoder]
    assert encoder == list(pairwise((12, *sizes)))
    assert decoder == [(n_out, n_in) for n_in, n_out in reversed(encoder)]


def test_architecture_knows_its_sizes() -> None:
    found = architecture(image_shape=(3, 4), hidden_sizes=(9, 7, 5))
    assert (found.pixels, found.units, found.layer_sizes) == (12, 5, (12, 9, 7, 5))


def weights_of(model: Autoencoder) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = weights_of(Autoencoder(architecture(), seed=5))
    torch.manual_seed(2)
    torch.rand(17)
    assert torch.equal(first, weights_of(Autoencoder(architecture(), seed=5)))
    assert not torch.equal(first, weights_of(Autoencoder(architecture(), seed=6)))


def test_weights_start_glorot_uniform_and_biases_at_zero() -> None:
    model = Autoencoder(architecture(image_shape=(20, 20), hidden_sizes=(100, 50)))
    for layer in (*model.encoder, *model.decoder):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        share = layer.weight.detach() / bound
        assert share.abs().max() <= 1
        assert share.std().item() == pytest.approx(1 / math.sqrt(3), rel=0.03)
        assert share.mean().item() == pytest.approx(0, abs=0.03)
        assert not layer.bias.any()


def test_layers_of_one_shape_start_apart() -> None:
    model = Autoencoder(architecture(image_shape=(2, 3), hidden_sizes=(6, 6)))
    first, second = (layer.weight for layer in model.encoder)
    assert not torch.equal(first, second)


def test_activity_of_a_tanh_code_is_its_distance_from_minus_one() -> None:
    model = Autoencoder(architecture(code_activation="tanh"))
    z = torch.linspace(-30, 30, 61)
    activity = model.activity(torch.tanh(z))
    assert activity.min() >= 0
    assert activity.max() <= 1
    torch.testing.assert_close(activity, torch.sigmoid(2 * z), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("code_activation", "code", "activity"),
    [
        ("sigmoid", [0.0, 0.25, 1.0], [0.0, 0.25, 1.0]),
        ("relu", [0.0, 0.5, 7.0], [0.0, 0.5, 7.0]),
        ("identity", [-3.0, 0.0, 2.0], [3.0, 0.0, 2.0]),
        ("tanh", [-1.0, 0.0, 0.5], [0.0, 0.5, 0.75]),
    ],
)
def test_activity_is_the_distance_from_rest(
    code_activation: str, code: list[float], activity: list[float]
) -> None:
    model = Autoencoder(architecture(code_activation=code_activation))
    assert model.activity(torch.tensor(code)).tolist() == activity


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_sizes": ()},
        {"hidden_sizes": (0,)},
        {"hidden_sizes": (5, -1)},
        {"hidden_sizes": (5.0,)},
        {"hidden_sizes": ("5",)},
        {"hidden_sizes": (True,)},
        {"hidden_sizes": (10**4200,)},
        {"image_shape": (10**4200, 1)},
        {"image_shape": (0, 4)},
        {"image_shape": (3, -4)},
        {"image_shape": (3, 4.0)},
        {"image_shape": (3, None)},
        {"code_activation": "softmax"},
        {"hidden_activation": ""},
        {"output_activation": "Sigmoid"},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_architecture_refuses_nonsense(changes: dict[str, Any]) -> None:
    with pytest.raises(RhobetaError):
        architecture(**changes)


def test_a_layer_as_large_as_the_parameters_allow_can_be_described() -> None:
    largest = architecture(image_shape=(1, 65536), hidden_sizes=(65536,))
    assert largest.layer_sizes == (65536, 65536)


def test_an_unknown_activation_is_named_beside_the_known_ones() -> None:
    with pytest.raises(RhobetaError, match=r"'softmax'.*sigmoid, tanh, relu, topk, identity"):
        architecture(code_activation="softmax")


@pytest.mark.parametrize("sizes", [(5,), (9, 7, 5)], ids=len)
def test_architecture_survives_json(sizes: tuple[int, ...]) -> None:
    original = architecture(
        hidden_sizes=sizes,
        code_activation="tanh",
        hidden_activation="relu",
        output_activation="identity",
    )
    values = json.loads(json.dumps(dataclasses.asdict(original)))
    rebuilt = Architecture.from_dict(values)
    assert rebuilt == original
    assert hash(rebuilt) == hash(original)
