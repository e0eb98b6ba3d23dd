"""Reading a model, data, parameters or a preset never runs code that stands in them."""

import dataclasses
import io
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import QUICK, StartAfter, write_params
from helpers.own import read_own
from rhobeta.cli import main
from rhobeta.config.params import load_params, read_yaml
from rhobeta.config.presets import read_preset
from rhobeta.errors import RhobetaError
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.serialization import model_from_bytes, model_to_bytes
from rhobeta.paths import Paths


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self):
        return Path.touch, (self.sprung,)


@pytest.fixture
def sprung(tmp_path: Path) -> Iterator[Path]:
    """The file that payloads make; none may have."""
    path = tmp_path / "sprung"
    yield path
    assert not path.exists()


def torch_zip(payload: Payload) -> bytes:
    file = io.BytesIO()
    torch.save({"encoder.0.weight": payload}, file)
    return file.getvalue()


def torch_of_old(payload: Payload) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": payload}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def npy(payload: Payload) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([payload], dtype=object), allow_pickle=True)
    return file.getvalue()


def npz(payload: Payload) -> bytes:
    file = io.BytesIO()
    np.savez(file, images=np.array([payload], dtype=object), labels=np.array([payload]))
    return file.getvalue()


PICKLES = {"pickle": pickle.dumps, "torch": torch_zip, "old torch": torch_of_old, "npy": npy}
PICKLES["npz"] = npz


@pytest.mark.parametrize("kind", PICKLES)
def test_payloads_would_make_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "made"
    file = io.BytesIO(PICKLES[kind](Payload(path)))
    if "torch" in kind:
        torch.load(file, weights_only=False)
    elif kind == "pickle":
        pickle.load(file)
    elif kind == "npz":
        np.load(file, allow_pickle=True)["images"]
    else:
        np.load(file, allow_pickle=True)
    assert path.exists()


@pytest.mark.parametrize("kind", PICKLES)
def test_pickle_in_place_of_an_output_is_not_run(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    sprung: Path,
    kind: str,
) -> None:
    content = PICKLES[kind](Payload(sprung))
    with pytest.raises(RhobetaError, match="it is not a model of rhobeta, or is damaged"):
        model_from_bytes(content, name="it")
    with pytest.raises(RhobetaError, match="it is damaged"):
        TestRecord.from_bytes(content, name="it")
    start_after("evaluate")
    for file, stage in (
        (paths.evaluation, "visualize"),
        (paths.model, "evaluate"),
        (paths.splits / "test.safetensors", "evaluate"),
        (paths.raw_data / "train-images-idx3-ubyte", "preprocess"),
    ):
        whole = file.read_bytes()
        file.write_bytes(content)
        assert main([stage]) == 1
        assert str(file) in capsys.readouterr().err
        file.write_bytes(whole)


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("name", ["mine.npz", "train-images-idx3-ubyte", "train-images.gz"])
def test_pickle_as_own_data_is_not_run(tmp_path: Path, sprung: Path, kind: str, name: str) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / name).write_bytes(PICKLES[kind](Payload(sprung)))
    with pytest.raises(RhobetaError, match=name):
        read_own(folder)


def test_pickle_behind_another_magic_number_is_not_run(tmp_path: Path, sprung: Path) -> None:
    payload = pickle.dumps(Payload(sprung))
    for start in (b"PK\3\4", b"\x93NUMPY\1\0", b""):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("images.npy", payload)
            archive.writestr("labels.npy", b"\x93NUMPY\1\0" + payload)
        (tmp_path / "mine.npz").write_bytes(start + payload + file.getvalue())
        with pytest.raises(RhobetaError):
            read_own(tmp_path)


YAML_TAGS = [
    "!!python/object/apply:pathlib.Path.touch [{sprung}]",
    "!!python/object/new:pathlib.Path [{sprung}]",
    "!!python/name:os.system x",
    "!!python/module:os x",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {sprung}']",
]


@pytest.mark.parametrize("tag", YAML_TAGS)
def test_python_tags_in_yaml_are_refused(tmp_path: Path, sprung: Path, tag: str) -> None:
    text = f"penalty:\n  rho: {tag.format(sprung=sprung)}\n"
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(RhobetaError, match="is not valid YAML"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(RhobetaError, match="is not valid YAML"):
        read_preset(tmp_path, "params")


@pytest.mark.slow
def test_packaged_model_holds_no_pickle(
    paths: Paths, start_after: StartAfter, sprung: Path
) -> None:
    import mlflow.pyfunc

    start_after("train")
    # The snapshot's database holds the snapshot's absolute address.
    shutil.rmtree(paths.store)
    assert main(["evaluate"]) == 0
    (package,) = {path.parent for path in paths.store.rglob("MLmodel")}
    assert not [p for p in package.rglob("*") if p.suffix in {".pkl", ".pt", ".pth", ".pickle"}]
    kinds = {p.suffix for p in package.rglob("*") if p.is_file()} - {".pyc"}
    assert kinds <= {"", ".json", ".yaml", ".txt", ".py", ".j2", ".typed", ".safetensors", ".md"}
    (weights,) = package.rglob("autoencoder.safetensors")
    weights.write_bytes(torch_zip(Payload(sprung)))
    with pytest.raises(RhobetaError, match="is not a model of rhobeta"):
        mlflow.pyfunc.load_model(str(package))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.name", "<script>alert(1)</script>"),
        ("model.code_activation", "no such"),
        ("training.seed", "1"),
        ("training.sneed", 1),
        ("evil.seed", 1),
        ("penalty.rho", None),
        ("topk.k", 10**400),
    ],
)
def test_model_with_foreign_parameters_is_refused(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: object,
) -> None:
    start_after("train")
    saved = model_from_bytes(paths.model.read_bytes(), name="it")
    parameters = saved.description.parameters | {name: value}
    description = dataclasses.replace(saved.description, parameters=parameters)
    paths.model.write_bytes(model_to_bytes(saved.model, description))
    assert main(["evaluate"]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"rhobeta evaluate: {paths.model} ")
    assert "dvc checkout" in message


def test_parameter_files_here_are_plain_yaml() -> None:
    from helpers import REPOSITORY

    for path in (REPOSITORY / "params.yaml", *(REPOSITORY / "presets").glob("*.yaml")):
        assert isinstance(read_yaml(path), dict)


def test_reference_in_a_parameter_file_is_refused(tmp_path: Path) -> None:
    write_params(tmp_path, QUICK)
    path = tmp_path / "params.yaml"
    path.write_text(f"{path.read_text()}\nmore: &a 3\nagain: *a\n")
    with pytest.raises(RhobetaError, match=r"params\.yaml refers to \*a\.\nWrite the value itself"):
        load_params(path)
