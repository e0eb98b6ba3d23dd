"""A model as bytes: what comes back, and that nothing but a model does."""

import dataclasses
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from helpers import with_changes, with_right_checksum
from rhobeta.config.params import check_params, flatten
from rhobeta.config.renamed import ADDED
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.model_file import read_model
from rhobeta.model.serialization import (
    ModelDescription,
    model_from_bytes,
    model_to_bytes,
    read_network,
)
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum

PARAMETERS = {
    "data.name": "mnist",
    "data.classes": None,
    "model.hidden_sizes": [4, 3],
    "penalty.kind": "kl",
    "penalty.rho": 0.05,
    "training.learning_rate": 0.01,
}


def architecture(**changes: Any) -> Architecture:
    values = {
        "sample_shape": (3, 2),
        "hidden_sizes": (4, 3),
        "code_activation": "tanh",
        "hidden_activation": "relu",
        "output_activation": "sigmoid",
    }
    return Architecture(**(values | changes))


def description(of: Architecture, parameters: dict[str, Any] = PARAMETERS) -> ModelDescription:
    return ModelDescription(
        architecture=of,
        parameters=parameters,
        data_sha256="ab" * 32,
        best_epoch=7,
        best_loss=0.1 + 0.2,
        sparsity={"validation/rho_hat_mean": 0.05, "validation/dead_units": 1},
    )


def small_model() -> Autoencoder:
    model = Autoencoder(architecture(), seed=4)
    torch.nn.init.uniform_(model.encoder[0].bias, generator=torch.Generator().manual_seed(0))
    return model


def content() -> bytes:
    model = small_model()
    return model_to_bytes(model, description(model.architecture))


def described(**changes: Any) -> dict[str, Any]:
    values = dataclasses.asdict(description(architecture()))
    return {"_seal": EMPTY_CHECKSUM, "format": "rhobeta-autoencoder-3", **values, **changes}


def with_description(text: str, tensors: dict[str, torch.Tensor] | None = None) -> bytes:
    """The small model's weights (or `tensors`) under a description of one's own."""
    beside = {} if EMPTY_CHECKSUM in text else {"seal": EMPTY_CHECKSUM}
    tensors = tensors or small_model().state_dict()
    return add_checksum(save(tensors, metadata={"rhobeta": text} | beside))


def test_file_without_sparsity_is_still_read() -> None:
    old = {name: value for name, value in described().items() if name != "sparsity"}
    found = model_from_bytes(with_description(json.dumps(old)), name="it").description
    assert found == dataclasses.replace(description(architecture()), sparsity={})


def refused(damaged: bytes) -> str:
    """The reason why these bytes are refused even under a seal that is right for them."""
    for content in (damaged, with_right_checksum(damaged)):
        with pytest.raises(RhobetaError) as caught:
            model_from_bytes(content, name="models/that.safetensors")
        assert "models/that.safetensors" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("sizes", [(1,), (4, 3), (5, 4, 3)], ids=len)
@pytest.mark.parametrize("code_activation", ["sigmoid", "tanh", "relu"])
def test_weights_and_description_come_back_bit_for_bit(
    sizes: tuple[int, ...], code_activation: str
) -> None:
    model = Autoencoder(
        architecture(hidden_sizes=sizes, code_activation=code_activation), seed=9
    ).train()
    original = description(model.architecture)
    saved = model_from_bytes(model_to_bytes(model, original), name="it")
    assert saved.description == original
    assert saved.model.architecture == model.architecture
    assert not saved.model.training
    weights = model.state_dict()
    rebuilt = saved.model.state_dict()
    assert list(rebuilt) == list(weights)
    assert all(torch.equal(rebuilt[name], weights[name]) for name in weights)
    assert model_to_bytes(saved.model, saved.description) == saved.content


@pytest.mark.parametrize(
    "changes",
    [{"tied_weights": True}, {"code_activation": "topk", "k": 2, "tied_weights": True}],
    ids=["tied", "tied topk"],
)
def test_tied_and_topk_models_come_back(changes: dict[str, Any]) -> None:
    model = Autoencoder(architecture(**changes), seed=9)
    whole = model_to_bytes(model, description(model.architecture))
    assert "decoder.0.weight" not in load(whole)
    saved = model_from_bytes(whole, name="it")
    assert saved.model.architecture == model.architecture
    x = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    for found, expected in zip(saved.model(x), model(x), strict=True):
        assert torch.equal(found, expected)
    with torch.no_grad():
        saved.model.encoder[1].weight += 1
    assert torch.equal(saved.model.decoder[0].weight, saved.model.encoder[1].weight.T)
    assert model_to_bytes(model, description(model.architecture)) == whole


def test_untied_weights_with_tied_description_are_refused() -> None:
    assert "decoder.0.weight" in refused(with_description(with_architecture(tied_weights=True)))


def test_a_missing_extension_is_named() -> None:
    unknown = refused(with_description(with_architecture(code_activation="softsign")))
    assert "'softsign'" in unknown
    assert "extensions/" in unknown


def test_an_unknown_penalty_is_named_where_it_counts(tmp_path: Path) -> None:
    model = small_model()
    described = description(model.architecture, PARAMETERS | {"penalty.kind": "hellinger"})
    (tmp_path / "it").write_bytes(model_to_bytes(model, described))
    saved = read_network(tmp_path / "it")
    for read in (lambda: read_model(tmp_path / "it"), lambda: saved.rho):
        with pytest.raises(RhobetaError, match=r"the penalty 'hellinger'; known: .*extensions/"):
            read()


def test_a_model_of_before_a_parameter_is_read(tmp_path: Path) -> None:
    known = flatten(check_params(with_changes({}), where="test"))
    sections = ("data", "model", "penalty", "topk", "training")
    parameters = {k: v for k, v in known.items() if k.split(".")[0] in sections and k not in ADDED}
    model = small_model()
    (tmp_path / "it").write_bytes(
        model_to_bytes(model, description(model.architecture, parameters))
    )
    assert read_model(tmp_path / "it").description.parameters == parameters


def test_a_file_that_says_image_shape_is_read() -> None:
    old = described()
    old["architecture"]["image_shape"] = old["architecture"].pop("sample_shape")
    found = model_from_bytes(with_description(json.dumps(old)), name="it").model.architecture
    assert found == architecture()


def test_identity_is_the_digest_of_the_bytes() -> None:
    saved = model_from_bytes(content(), name="it")
    assert saved.sha256 == hashlib.sha256(content()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "rho"), [("kl", 0.05), ("kl_poisson", 0.05), ("l1_code", None), ("none", None)]
)
def test_rho_is_that_of_the_penalty_or_none_without_one(kind: str, rho: float | None) -> None:
    model = small_model()
    parameters = PARAMETERS | {"penalty.kind": kind}
    written = model_to_bytes(model, description(model.architecture, parameters))
    assert model_from_bytes(written, name="it").rho == rho


def test_bytes_do_not_depend_on_the_order_of_parameters() -> None:
    model = small_model()
    backwards = dict(reversed(PARAMETERS.items()))
    assert list(backwards) != list(PARAMETERS)
    assert model_to_bytes(model, description(model.architecture, backwards)) == content()


WRITE_A_MODEL = """
import hashlib
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_to_bytes
architecture = Architecture((3, 2), (4, 3), "tanh", "relu", "sigmoid")
parameters = {f"section.name_{index}": index / 7 for index in range(20)}
parameters["penalty.kind"] = "none"
described = ModelDescription(architecture, parameters, "ab" * 32, 7, 0.3)
content = model_to_bytes(Autoencoder(architecture, seed=4), described)
print(hashlib.sha256(content).hexdigest())
"""


@pytest.mark.slow
def test_process_that_hashes_differently_writes_the_same_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE_A_MODEL],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    exec(WRITE_A_MODEL, {})
    here = capsys.readouterr().out
    assert done.stdout == here
    assert len(here.strip()) == 64


def test_another_weight_is_another_model() -> None:
    model = small_model()
    with torch.no_grad():
        model.decoder[1].bias[5] = 1e-30
    assert model_to_bytes(model, description(model.architecture)) != content()


def cut_points() -> list[int]:
    whole = content()
    header_end = 8 + struct.unpack("<Q", whole[:8])[0]
    return [0, 1, 7, 8, 9, header_end // 2, header_end - 1, header_end, len(whole) - 1]


@pytest.mark.parametrize("length", cut_points())
def test_truncated_bytes_are_refused(length: int) -> None:
    refused(content()[:length])


@pytest.mark.parametrize("extra", [b"\0", b"{}", b"\0" * 4096], ids=len)
def test_bytes_after_the_end_are_refused(extra: bytes) -> None:
    refused(content() + extra)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"encoder.0.bias"', b'"encoder.0.bios"'),
        (b'"encoder.0.bias"', b'"encoder.9.bias"'),
        (b'"rhobeta"', b'"rhobetb"'),
        (b"rhobeta-autoencoder-3", b"rhobeta-autoencoder-2"),
        (b'"dtype":"F32"', b'"dtype":"F64"'),
        (b'"dtype":"F32"', b'"dtype":"X32"'),
        (b'"shape":[4]', b'"shape":[5]'),
        (b'\\"best_epoch\\"', b'\\"best_epocx\\"'),
        (b'\\"tanh\\"', b'\\"tanj\\"'),
        (b'\\"hidden_sizes\\": [4, 3]', b'\\"hidden_sizes\\": [3, 4]'),
        (b'\\"sample_shape\\": [3, 2]', b'\\"sample_shape\\": [3, 3]'),
        (b'\\"sample_shape\\": [3, 2]', b'\\"sample_shape\\": [3, 0]'),
        (b'\\"parameters\\"', b'\\"parameters\xff"'),
    ],
)
def test_a_changed_header_is_refused(old: bytes, new: bytes) -> None:
    assert old in content()
    assert len(old) == len(new)
    refused(content().replace(old, new, 1))


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"rhobeta": "not JSON"}])
def test_a_foreign_safetensors_file_is_refused(metadata: dict[str, str] | None) -> None:
    refused(save(small_model().state_dict(), metadata=metadata))


def test_a_good_description_over_the_right_weights_is_a_model() -> None:
    # What the tests below damage is otherwise sound.
    assert with_description(json.dumps(described(), sort_keys=True)) == content()


def with_architecture(**changes: Any) -> str:
    return json.dumps(described(architecture=described()["architecture"] | changes))


def without(key: str) -> str:
    return json.dumps({name: value for name, value in described().items() if name != key})


OTHER_DESCRIPTIONS = {
    "null": "null",
    "number": "5",
    "text": '"text"',
    "list": "[]",
    "empty": "{}",
    "deep": "[" * 100_000,
    "no format": without("format"),
    "no best epoch": without("best_epoch"),
    "no architecture": without("architecture"),
    "format of another program": json.dumps(described(format="another-format")),
    "format null": json.dumps(described(format=None)),
    "one field more": json.dumps(described(more=1)),
    "architecture null": json.dumps(described(architecture=None)),
    "architecture a list": json.dumps(described(architecture=[])),
    "architecture empty": json.dumps(described(architecture={})),
    "topk without k": with_architecture(code_activation="topk"),
    "k without topk": with_architecture(k=2),
    "no penalty kind": json.dumps(described(parameters={})),
    "penalty a list": json.dumps(described(parameters={"penalty.kind": ["l3"]})),
    "rho missing": json.dumps(described(parameters={"penalty.kind": "kl_poisson"})),
    "sizes a number": with_architecture(hidden_sizes=3),
    "sizes empty": with_architecture(hidden_sizes=[]),
    "sizes broken": with_architecture(hidden_sizes=[3.0]),
    "no side": with_architecture(sample_shape=[]),
    "side of a thousand million": with_architecture(sample_shape=[10**9, 1]),
    "sides of 4200 digits": with_architecture(sample_shape=[10**4200, 10**4200]),
}


@pytest.mark.parametrize("case", OTHER_DESCRIPTIONS)
def test_a_description_of_another_form_is_refused(case: str) -> None:
    refused(with_description(OTHER_DESCRIPTIONS[case]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_sizes": (3,)}, "6-3"),
        ({"hidden_sizes": (5, 3)}, "6-5-3"),
        ({"hidden_sizes": (4, 2)}, "6-4-2"),
        ({"hidden_sizes": (4, 3, 3)}, "6-4-3-3"),
        ({"sample_shape": (3, 3)}, "9-4-3"),
        ({"sample_shape": (1 << 20, 1 << 20), "hidden_sizes": (1 << 20,)}, f"{1 << 40}-{1 << 20}"),
    ],
    ids=str,
)
def test_other_layers_are_refused_before_building(
    changes: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = with_description(json.dumps(described(architecture=vars(architecture(**changes)))))

    def build(*_: Any) -> None:
        pytest.fail("a network was built")

    monkeypatch.setattr("rhobeta.model.serialization.Autoencoder", build)
    assert named in refused(other)


def without_one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if name != "decoder.1.bias"}


def with_one_more(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"scale": torch.ones(1)}


def transposed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"encoder.0.weight": tensors["encoder.0.weight"].T.contiguous()}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without_one, "decoder.1.bias is absent"),
        (with_one_more, "scale"),
        (transposed, "encoder.0.weight"),
    ],
)
def test_other_tensors_than_described_are_refused(
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], named: str
) -> None:
    tensors = change(load(content()))
    assert named in refused(with_description(json.dumps(described()), tensors))


HUGE = 1 << 42


@pytest.mark.parametrize(
    "damaged",
    [
        struct.pack("<Q", (1 << 64) - 1) + b"{}",
        struct.pack("<Q", HUGE) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{}",
        *(
            struct.pack("<Q", len(header)) + header + b"\0" * 64
            for header in (
                json.dumps(
                    {
                        "__metadata__": {"rhobeta": json.dumps(described())},
                        "encoder.0.weight": {
                            "dtype": "F32",
                            "shape": shape,
                            "data_offsets": [0, end],
                        },
                    }
                ).encode()
                for shape, end in (
                    ([HUGE], 4 * HUGE),
                    ([HUGE, HUGE], 64),
                    ([1 << 63], 64),
                    ([-16], 64),
                    ([16], -64),
                )
            )
        ),
    ],
    ids=lambda damaged: damaged[-190:-60].decode(errors="replace"),
)
def test_claims_of_huge_sizes_are_refused(damaged: bytes) -> None:
    refused(damaged)


def test_every_flipped_bit_is_refused() -> None:
    whole = content()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(RhobetaError, match=r"do not match the checksum|holds no checksum"):
            model_from_bytes(bytes(damaged), name="it")


def test_a_parameter_that_looks_like_a_seal_is_a_parameter() -> None:
    model = small_model()
    parameters = PARAMETERS | {"a.name": f"sha256:{'ab' * 32}", "the.other": EMPTY_CHECKSUM}
    written = model_to_bytes(model, description(model.architecture, parameters))
    assert model_from_bytes(written, name="it").description.parameters == parameters
