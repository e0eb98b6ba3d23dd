"""The network: what it computes, how it starts, and what it refuses to be."""

import copy
import dataclasses
import json
import math
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.errors import RhobetaError
from rhobeta.extensions import ACTIVATION_SPECS, ActivationSpec
from rhobeta.model.activations import CODE_ACTIVATIONS
from rhobeta.model.autoencoder import Architecture, Autoencoder

FUNCTIONS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
    "identity": lambda v: v,
}


def architecture(**changes: Any) -> Architecture:
    values = {
        "sample_shape": (3, 4),
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
    found = architecture(sample_shape=(3, 4), hidden_sizes=(9, 7, 5))
    assert (found.features, found.units, found.layer_sizes) == (12, 5, (12, 9, 7, 5))


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
    model = Autoencoder(architecture(sample_shape=(20, 20), hidden_sizes=(100, 50)))
    for layer in (*model.encoder, *model.decoder):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        share = layer.weight.detach() / bound
        assert share.abs().max() <= 1
        assert share.std().item() == pytest.approx(1 / math.sqrt(3), rel=0.03)
        assert share.mean().item() == pytest.approx(0, abs=0.03)
        assert not layer.bias.any()


def test_layers_of_one_shape_start_apart() -> None:
    model = Autoencoder(architecture(sample_shape=(2, 3), hidden_sizes=(6, 6)))
    first, second = (layer.weight for layer in model.encoder)
    assert not torch.equal(first, second)


def test_activity_of_a_tanh_code() -> None:
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
        ("of -1 to 3", [-1.0, 0.0, 3.0], [0.0, 0.25, 1.0]),
        ("of 2 up", [2.0, 3.0, 9.0], [2.0, 3.0, 9.0]),
    ],
)
def test_activity_by_hand(
    code_activation: str,
    code: list[float],
    activity: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, low, high in (("of -1 to 3", -1, 3), ("of 2 up", 2, math.inf)):
        monkeypatch.setitem(ACTIVATION_SPECS, name, ActivationSpec(low, high))
        monkeypatch.setitem(CODE_ACTIVATIONS, name, torch.clamp)
    model = Autoencoder(architecture(code_activation=code_activation))
    assert model.activity(torch.tensor(code)).tolist() == activity


SIZES = [(5,), (7, 5), (9, 7, 5)]


def tied(sizes: tuple[int, ...] = (7, 5), **changes: Any) -> Autoencoder:
    return Autoencoder(architecture(hidden_sizes=sizes, tied_weights=True, **changes), seed=2)


@pytest.mark.parametrize("sizes", SIZES, ids=len)
def test_tied_weights_are_transposed_and_not_parameters(
    sizes: tuple[int, ...],
) -> None:
    model, free = tied(sizes), Autoencoder(architecture(hidden_sizes=sizes), seed=2)
    assert len(list(free.parameters())) - len(list(model.parameters())) == len(sizes)
    assert model.state_dict().keys() == {
        name for name in free.state_dict() if not re.fullmatch(r"decoder\.\d\.weight", name)
    }
    for layer, mirrored in zip(model.encoder, reversed(model.decoder), strict=True):
        assert torch.equal(mirrored.weight, layer.weight.T)
        assert not mirrored.bias.any()
    # The encoder starts as it does without the tie.
    for layer, other in zip(model.encoder, free.encoder, strict=True):
        assert torch.equal(layer.weight, other.weight)
    # In both, they count once or twice.
    assert len(model.weights()) == len(sizes)
    assert len(free.weights()) == 2 * len(sizes)
    weights = sorted((tuple(k.shape) for k in model.weights()), reverse=True)
    assert weights == sorted((tuple(layer.weight.shape) for layer in model.encoder), reverse=True)


@pytest.mark.parametrize("sizes", SIZES, ids=len)
def test_a_tied_model_computes_what_its_transposed_weights_say(sizes: tuple[int, ...]) -> None:
    model = tied(sizes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    x = images()
    with torch.no_grad():
        found = model(x)
    a = FUNCTIONS["sigmoid"](through(model.encoder, x.double().numpy(), "relu"))
    expected = FUNCTIONS["sigmoid"](through(model.decoder, a, "relu"))
    np.testing.assert_allclose(found.reconstruction.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_tied_weights_have_the_gradient_of_both_uses() -> None:
    model = tied((5,)).double()
    x = images().double()
    model(x).reconstruction.square().sum().backward()
    first, second = (torch.nn.Parameter(model.encoder[0].weight.detach().clone()) for _ in "ab")
    code = torch.sigmoid(x @ first.T)
    torch.sigmoid(code @ second).square().sum().backward()
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(model.encoder[0].weight.grad, first.grad + second.grad)


def changed(model: Autoencoder) -> Autoencoder:
    with torch.no_grad():
        model.encoder[-1].weight += 1
    return model


def test_a_copy_of_a_tied_model_is_tied_to_its_own_weights() -> None:
    model = tied()
    twin = changed(copy.deepcopy(model))
    assert torch.equal(twin.decoder[0].weight, twin.encoder[-1].weight.T)
    assert not torch.equal(twin.decoder[0].weight, model.decoder[0].weight)
    assert torch.equal(model.decoder[0].weight, model.encoder[-1].weight.T)


def test_loading_weights_and_changing_precision_keep_the_tie() -> None:
    source, model = changed(tied()), tied()
    model.load_state_dict(source.state_dict())
    model = changed(model.double())
    assert model.decoder[0].weight.dtype == torch.float64
    assert torch.equal(model.decoder[0].weight, model.encoder[-1].weight.T)
    assert torch.equal(model.decoder[0].weight, source.decoder[0].weight.double() + 1)


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=len)
def test_normalize_decoder_scales_columns_to_length_one(
    is_tied: bool, sizes: tuple[int, ...]
) -> None:
    model = Autoencoder(architecture(hidden_sizes=sizes, tied_weights=is_tied))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    columns = model.decoder[0].weight.detach().double().clone()
    model.normalize_decoder()
    expected = columns / columns.square().sum(0).sqrt()
    torch.testing.assert_close(model.decoder[0].weight.double(), expected, rtol=1e-5, atol=1e-6)
    scaled = f"encoder.{len(sizes) - 1}.weight" if is_tied else "decoder.0.weight"
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name != scaled)


@pytest.mark.parametrize("is_tied", [False, True])
def test_normalize_decoder_keeps_a_zero_column(is_tied: bool) -> None:
    model = Autoencoder(architecture(hidden_sizes=(5,), tied_weights=is_tied))
    with torch.no_grad():
        model.decoder[0].weight[:, 2] = 0
    model.normalize_decoder()
    norms = model.decoder[0].weight.detach().norm(dim=0)
    assert norms.tolist() == pytest.approx([1, 1, 0, 1, 1])


def test_k_is_the_architectures_unless_another_is_asked_for() -> None:
    model = Autoencoder(architecture(code_activation="topk", k=2))
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) + 3
    x = images()

    def active(code: Tensor) -> set[int]:
        return set((code > 0).sum(1).tolist())

    assert active(model.activate(z)) == {2}
    assert active(model.activate(z, k=4)) == {4}
    with torch.no_grad():
        model.encoder[-1].bias += 10
        assert active(model.encode(x)) == active(model(x).code) == {2}
        assert active(model.encode(x, k=3)) == active(model(x, k=3).code) == {3}
        assert torch.equal(model(x, k=3).reconstruction, model.decode(model.encode(x, k=3)))


def test_images_without_noise_choose_the_units_of_a_topk_code() -> None:
    model = Autoencoder(architecture(code_activation="topk", k=2))
    z, clean = torch.tensor([[1.0, 5, 2, -1, 9]]), torch.tensor([[3.0, 1, 2, 4, -1]])
    # Those of `clean` are the first and the fourth; the value of the fourth is below zero.
    assert model.activate(z, clean=clean).tolist() == [[1, 0, 0, 0, 0]]
    x = images()
    code = model(x + 1, clean=x).code
    assert torch.equal(code > 0, (model.encode(x) > 0) & (model.pre_activation(x + 1) > 0))


def test_k_is_no_matter_to_other_codes() -> None:
    model = Autoencoder(architecture())
    assert torch.equal(model.encode(images(), k=1), model.encode(images()))


@pytest.mark.parametrize("k", [None, 0, -1, 2.0, True])
def test_a_topk_code_needs_a_k(k: Any) -> None:
    with pytest.raises(RhobetaError, match=r"topk code with k .*whole number from 1"):
        architecture(code_activation="topk", k=k)


@pytest.mark.parametrize("code_activation", ["sigmoid", "relu"])
def test_other_codes_have_no_k(code_activation: str) -> None:
    with pytest.raises(RhobetaError, match=rf"{code_activation} code with k 3 .*expected none"):
        architecture(code_activation=code_activation, k=3)


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
        {"sample_shape": (10**4200, 1)},
        {"sample_shape": (0, 4)},
        {"sample_shape": (3, -4)},
        {"sample_shape": (3, 4.0)},
        {"sample_shape": (3, None)},
        {"code_activation": "softmax"},
        {"hidden_activation": ""},
        {"output_activation": "Sigmoid"},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_architecture_refuses_nonsense(changes: dict[str, Any]) -> None:
    with pytest.raises(RhobetaError):
        architecture(**changes)


def test_the_largest_allowed_layer_can_be_described() -> None:
    largest = architecture(sample_shape=(1, 65536), hidden_sizes=(65536,))
    assert largest.layer_sizes == (65536, 65536)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_a_centred_start_gives_every_unit_the_same_chance(tied: bool, output: str) -> None:
    model = Autoencoder(
        architecture(
            hidden_sizes=(7,), code_activation="relu", output_activation=output, tied_weights=tied
        )
    )
    mean = images().mean(0)
    with torch.no_grad():
        model.center_on(mean.double())
        z, _, _, rebuilt = model(mean[None])
    weight = model.encoder[0].weight
    torch.testing.assert_close(z, torch.zeros(1, 7), rtol=0, atol=1e-6)
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(7))
    assert torch.equal(model.decoder[0].weight, weight.T)
    # The code of the mean image is silent: an identity output is then the mean image itself.
    if output == "identity":
        torch.testing.assert_close(rebuilt[0], mean, rtol=0, atol=1e-6)
    else:
        assert not model.decoder[0].bias.any()


def test_a_deep_network_is_not_centred() -> None:
    model, untouched = Autoencoder(architecture(), seed=2), Autoencoder(architecture(), seed=2)
    model.center_on(images().mean(0))
    assert torch.equal(weights_of(model), weights_of(untouched))


def test_an_unknown_activation_is_named_beside_the_known_ones() -> None:
    with pytest.raises(RhobetaError, match=r"'softmax'.*sigmoid, tanh, relu, topk, identity"):
        architecture(code_activation="softmax")


@pytest.mark.parametrize("sizes", [(5,), (9, 7, 5)], ids=len)
@pytest.mark.parametrize(
    "more",
    [
        {"code_activation": "tanh"},
        {"code_activation": "tanh", "tied_weights": True},
        {"code_activation": "topk", "k": 3},
    ],
    ids=["tanh", "tied", "topk"],
)
def test_architecture_survives_json(sizes: tuple[int, ...], more: dict[str, Any]) -> None:
    original = architecture(
        hidden_sizes=sizes,
        hidden_activation="relu",
        output_activation="identity",
        **more,
    )
    values = json.loads(json.dumps(dataclasses.asdict(original)))
    rebuilt = Architecture.from_dict(values)
    assert rebuilt == original
    assert hash(rebuilt) == hash(original)
