"""Files whose parts contradict each other are refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from helpers import with_right_checksum
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.data.samples import Samples
from rhobeta.data.splits import SPLIT_NAMES, everything, read_manifest, read_split, write_splits
from rhobeta.errors import RhobetaError
from rhobeta.extensions import load_extensions
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_from_bytes, model_to_bytes
from rhobeta.utils.files import sha256_of_bytes

IMAGES = np.arange(72, dtype=np.uint8).reshape(6, 4, 3)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    data = Samples(IMAGES, LABELS)
    write_splits(
        tmp_path,
        dict.fromkeys(SPLIT_NAMES, everything(data)),
        raw_files={},
        parameters={"data.name": "own", "data.classes": [0, 1, 2], "data.validation_fraction": 0.5},
    )
    return tmp_path


def change(folder: Path, *path: str, value: Any) -> None:
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    owner = content
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    file.write_bytes(with_right_checksum(json.dumps(content).encode()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("sample_shape",), [4.0, 3]),
        (("sample_shape",), [float("inf"), 3]),
        (("sample_shape",), [0, 3]),
        (("sample_shape",), [4, 3, 1]),
        (("classes",), [0, 256]),
        (("classes",), [True]),
        (("mean_pixel",), float("nan")),
        (("mean_pixel",), 1.5),
        (("sha256",), "0" * 64),
        (("sha256",), "x"),
        (("parameters", "data.seed"), float("nan")),
        (("parameters", "data.seed"), 10**30),
        (("parameters", "data.seed"), {"a": 1}),
        (("splits", "train", "sha256"), "0" * 64),
        (("splits", "train", "sha256"), None),
        (("splits", "train", "images"), 7),
        (("splits", "train", "per_class"), {"0": 2, "1": 2, "2": 3}),
        (("splits", "train", "per_class"), {"zero": 6}),
        (("splits", "train", "per_class"), {"0": -1, "1": 7}),
        (("splits", "test"), {}),
    ],
    ids=str,
)
def test_inconsistent_manifest_is_refused(splits: Path, path: tuple, value: Any) -> None:
    read_manifest(splits)
    change(splits, *path, value=value)
    with pytest.raises(RhobetaError, match=r"manifest\.json does not describe splits"):
        read_manifest(splits)


@pytest.mark.parametrize(
    "content",
    [
        b"text",
        save({"values": IMAGES}),
        save({"values": IMAGES.astype(np.float32), "labels": LABELS}),
        save({"values": IMAGES, "labels": LABELS.astype(np.int64)}),
        save({"values": IMAGES.reshape(6, 3, 4), "labels": LABELS}),
        save({"values": IMAGES, "labels": LABELS[::-1].copy() // 2}),
        save({"values": IMAGES, "labels": LABELS[:5].copy()}),
        save({"values": IMAGES[0], "labels": LABELS}),
    ],
    ids=["text", "one", "floats", "wide labels", "turned", "other classes", "fewer", "flat"],
)
def test_split_that_the_manifest_misdescribes_is_refused(splits: Path, content: bytes) -> None:
    (splits / "train.safetensors").write_bytes(content)
    digests = {n: sha256_of_bytes((splits / f"{n}.safetensors").read_bytes()) for n in SPLIT_NAMES}
    change(splits, "splits", "train", "sha256", value=digests["train"])
    of_all = sha256_of_bytes("".join(digests[name] for name in SPLIT_NAMES).encode())
    change(splits, "sha256", value=of_all)
    with pytest.raises(RhobetaError, match=r"train\.safetensors holds (no split|other samples)"):
        read_split(splits, "train", read_manifest(splits))


def record() -> TestRecord:
    numbers = np.random.default_rng(0)
    return TestRecord(
        activity=numbers.random((6, 3), dtype=np.float32),
        examples=np.array([1, 0, 3]),
        reconstructions=numbers.random((3, 8), dtype=np.float32),
        feature_mse=numbers.random(8),
        l0_counts=np.array([1, 2, 3, 0]),
        l0_threshold=np.array([0.1]),
        top_units=np.array([2, 0]),
        top_rows=numbers.integers(-1, 6, (2, 9)),
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("activity", np.full((6, 3), np.nan, np.float32)),
        ("activity", np.zeros((6, 3))),
        ("activity", np.zeros((5, 3), np.float32)),
        ("activity", np.zeros(6, np.float32)),
        ("examples", np.zeros(3, np.int32)),
        ("examples", np.array([0, 1, 6])),
        ("examples", np.array([0, -1, 3])),
        ("reconstructions", np.zeros((3, 7), np.float32)),
        ("reconstructions", np.full((3, 8), np.inf, np.float32)),
        ("feature_mse", np.full(8, -1.0)),
        ("feature_mse", np.full(8, np.nan)),
        ("l0_counts", np.array([1, 2, 3])),
        ("l0_counts", np.array([1, 2, 2, 0])),
        ("l0_counts", np.array([7, -1, 0, 0])),
        ("l0_threshold", np.array([1.0])),
        ("l0_threshold", np.array([np.nan])),
        ("l0_threshold", np.array([0.1, 0.2])),
        ("top_units", np.array([3, 0])),
        ("top_units", np.array([-1, 0])),
        ("top_units", np.array([0, 0])),
        ("top_units", np.array([0, 1, 2])),
        ("top_rows", np.zeros((3, 9), np.int64)),
        ("top_rows", np.full((2, 9), 6)),
        ("top_rows", np.full((2, 9), -2)),
    ],
    ids=str,
)
def test_inconsistent_record_is_refused(field: str, values: np.ndarray) -> None:
    TestRecord.from_bytes(record().to_bytes(), name="it")
    damaged = dataclasses.replace(record(), **{field: values})
    assert load(damaged.to_bytes())[field].shape == values.shape
    with pytest.raises(RhobetaError, match=r"it is damaged \(\w+ (is|does not fit) "):
        TestRecord.from_bytes(damaged.to_bytes(), name="it")


def test_model_whose_rho_no_float_can_hold_is_refused() -> None:
    architecture = Architecture((4, 3), (5,), "sigmoid", "relu", "sigmoid")
    parameters = {"penalty.kind": "kl", "penalty.rho": 10**400}
    description = ModelDescription(architecture, parameters, "0" * 64, 1, 0.5)
    content = model_to_bytes(Autoencoder(architecture), description)
    with pytest.raises(RhobetaError, match="it is not a model of rhobeta, or is damaged"):
        model_from_bytes(content, name="it")


@pytest.mark.parametrize("text", ["3: {a: 1}", "penalty: {3: 1}", "penalty: 3", "[1]", "", "~: {}"])
def test_preset_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RhobetaError, match=r"mine\.yaml is no preset"):
        read_preset(tmp_path, "mine")


@pytest.mark.parametrize("values", [None, [], {"penalty": None}, {"penalty": 3}, {3: {}}])
def test_preset_over_no_parameters_is_refused(values: Any) -> None:
    with pytest.raises(RhobetaError, match=r"params\.yaml is refused"):
        overlaid(values, {"penalty.rho": 0.1}, name="mine")


def test_folders_and_pipes_are_no_presets_or_extensions(tmp_path: Path) -> None:
    import os

    from rhobeta.config.presets import preset_names

    for ending in ("py", "yaml"):
        (tmp_path / f"folder.{ending}").mkdir()
        os.mkfifo(tmp_path / f"pipe.{ending}")
    load_extensions(tmp_path)
    assert preset_names(tmp_path) == []
