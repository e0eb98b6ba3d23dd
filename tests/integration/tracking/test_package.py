"""The packaged model: what it answers, in this process, in a clean environment, and over HTTP."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from helpers.servers import Server, free_port
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.encoding import encode_images
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_from_bytes, model_to_bytes
from rhobeta.paths import Paths
from rhobeta.tracking.package import OUTPUTS, PACKAGED_FILE, log_model
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store

UNITS = 16


@dataclass(frozen=True)
class Packaged:
    """A model in a store: its folder there, images, and what the library makes of them."""

    folder: Path
    pixels: NDArray[np.float32]
    code: NDArray[np.float32]
    reconstruction: NDArray[np.float32]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory, test_digits: Samples) -> Packaged:
    root = tmp_path_factory.mktemp("packaged")
    architecture = Architecture((28, 28), (32, UNITS), "sigmoid", "relu", "sigmoid")
    described = ModelDescription(architecture, {"penalty.kind": "none"}, "ab" * 32, 1, 0.1)
    content = model_to_bytes(Autoencoder(architecture, seed=3), described)
    pixels = pixels_of(test_digits.values[:7])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = open_store(Paths(root, root), "tests")
        with new_run(store, name="packaged", tags={}) as run:
            log_model(run, content, example=pixels[:2])
    (logged,) = store.client.get_run(run.run_id).outputs.model_outputs
    location = store.client.get_logged_model(logged.model_id).artifact_location
    folder = Path(location.removeprefix("file://"))
    assert (folder / PACKAGED_FILE).read_bytes() == content
    encoded = encode_images(model_from_bytes(content, name="it").model, pixels)
    return Packaged(folder, pixels, encoded.code, encoded.reconstruction)


@pytest.fixture(scope="module")
def loaded(packaged: Packaged) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(packaged.folder))


def test_package_outputs_equal_the_library(packaged: Packaged, loaded: Any) -> None:
    expected = {"code": packaged.code, "reconstruction": packaged.reconstruction}
    asked = {
        None: ("code", "reconstruction"),
        "all": ("code", "reconstruction"),
        "encode": ("code",),
        "reconstruct": ("reconstruction",),
    }
    for output, names in asked.items():
        params = None if output is None else {"output": output}
        found = loaded.predict(packaged.pixels, params=params)
        assert tuple(found) == names
        for name in names:
            np.testing.assert_array_equal(found[name], expected[name])
    decoded = loaded.predict(packaged.code, params={"output": "decode"})
    assert tuple(decoded) == ("reconstruction",)
    np.testing.assert_array_equal(decoded["reconstruction"], packaged.reconstruction)
    assert {*asked, "decode"} - {None} == set(OUTPUTS)


def test_package_signature(packaged: Packaged, loaded: Any) -> None:
    signature = loaded.metadata.signature
    outputs = {spec.name: spec.shape for spec in signature.outputs.inputs}
    assert outputs == {"code": (-1, UNITS), "reconstruction": (-1, 784)}
    (parameter,) = signature.params.params
    assert (parameter.name, parameter.default) == ("output", "all")
    # MLflow would refuse what does not match it before `predict` sees it.
    assert signature.inputs is None
    assert loaded.metadata.metadata["sample_shape"] == [28, 28]
    assert loaded.metadata.metadata["units"] == UNITS
    assert "of shape (n, 28, 28) or (n, 784)" in loaded.metadata.metadata["takes"]
    np.testing.assert_array_equal(
        np.array(loaded.input_example, dtype=np.float32), packaged.pixels[:2]
    )


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.reshape(-1, 28, 28),
        lambda x: x.astype(np.float64),
        lambda x: (255 * x).round().astype(np.uint8).reshape(-1, 28, 28),
        lambda x: x.tolist(),
        lambda x: pd.DataFrame(x, columns=[f"pixel{i}" for i in range(784)]),
        lambda x: torch.from_numpy(x).reshape(-1, 1, 28, 28),
    ],
    ids=["images", "float64", "bytes", "lists", "data frame", "tensor"],
)
def test_package_takes_usual_types_and_shapes(
    packaged: Packaged, loaded: Any, convert: Callable[[NDArray[np.float32]], Any]
) -> None:
    found = loaded.predict(convert(packaged.pixels))
    np.testing.assert_array_equal(found["code"], packaged.code)
    np.testing.assert_array_equal(found["reconstruction"], packaged.reconstruction)


@pytest.mark.parametrize(
    ("given", "output", "reason"),
    [
        (np.zeros((2, 784)), "encoded", r"output 'encoded'; allowed: all .*, encode .*, decode"),
        (np.zeros((2, 783)), "encode", r"images of 28 x 28 .* \(2, 783\); expected \(n, 784\)"),
        (np.zeros((2, 784)), "decode", r"codes of 16 units: .* \(2, 784\); expected \(n, 16\)"),
        (np.full((2, 784), np.nan), "all", "found NaN or infinity; expected finite numbers: drop"),
        (pd.DataFrame({"a": ["b"]}), "all", "of type .* in a DataFrame; expected numbers, shape"),
        ([[0.0] * 784, [0.0]], "all", "list of rows of different lengths .* check that each row"),
    ],
)
def test_package_refuses_other_input_in_one_line(
    loaded: Any, given: Any, output: str, reason: str
) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=reason) as refusal:
        loaded.predict(given, params={"output": output})
    assert "\n" not in str(refusal.value)


def _closure(requirements: list[str]) -> set[str]:
    """The distributions that these need, by name, as installed here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if f"{name}[{wanted}]" in found:
                continue
            found.add(f"{name}[{wanted}]")
            needed = distribution(name).requires or []
            waiting += [(Requirement(text), wanted) for text in needed]
    return {name.partition("[")[0] for name in found}


# With nothing on the path but the standard library and the given folder.
LOAD = """
import json, sys
sys.path.append(sys.argv[1])
import mlflow.pyfunc, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[2])
code = model.predict(np.load(sys.argv[3]), params={"output": "encode"})["code"]
np.save(sys.argv[4], code)
import rhobeta
print(json.dumps(rhobeta.__file__))
"""


@pytest.mark.slow
def test_package_loads_from_its_requirements_alone(packaged: Packaged, tmp_path: Path) -> None:
    requirements = (packaged.folder / "requirements.txt").read_text().split()
    site = tmp_path / "site"
    site.mkdir()
    for name in _closure(requirements):
        installed = distribution(name)
        for top in {Path(file).parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
            source = Path(str(installed.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    assert not (site / "pytorch_lightning").exists()
    np.save(tmp_path / "pixels.npy", packaged.pixels)
    files = [packaged.folder, tmp_path / "pixels.npy", tmp_path / "code.npy"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOAD, site, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout.splitlines()[-1])).is_relative_to(packaged.folder)
    np.testing.assert_array_equal(np.load(tmp_path / "code.npy"), packaged.code)


@pytest.fixture
def server(packaged: Packaged, tmp_path: Path) -> Iterator[str]:
    """The address of a real `mlflow models serve` of the package."""
    port = free_port()
    command = ["mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model-uri", str(packaged.folder)]
    # The code in the package, not the one under test.
    environment = {"PYTHONPATH": str(packaged.folder / "code")}
    server = Server(command, f"http://127.0.0.1:{port}", tmp_path / "log", environment)
    server.start()
    try:
        server.wait()
        yield server.address
    finally:
        server.kill()


def _ask(address: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"{address}/invocations",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


@pytest.mark.slow
def test_package_served_over_http(packaged: Packaged, server: str) -> None:
    images = packaged.pixels.tolist()
    status, answer = _ask(server, {"inputs": images, "params": {"output": "encode"}})
    assert status == 200
    code = np.array(answer["predictions"]["code"], dtype=np.float32)
    np.testing.assert_array_equal(code, packaged.code)
    status, answer = _ask(server, {"inputs": code.tolist(), "params": {"output": "decode"}})
    assert status == 200
    np.testing.assert_array_equal(
        np.array(answer["predictions"]["reconstruction"], dtype=np.float32),
        packaged.reconstruction,
    )
    status, answer = _ask(server, {"inputs": images})
    assert (status, set(answer["predictions"])) == (200, {"code", "reconstruction"})
    status, answer = _ask(server, {"inputs": images, "params": {"output": "decode"}})
    assert status == 400
    assert answer["message"] == (
        "output decode takes codes of 16 units: found an array of shape (7, 784); expected (n, 16),"
        " or n arrays of 16 values each: select or reshape to that"
    )
    frame = {"columns": [f"pixel{i}" for i in range(784)], "data": images}
    status, answer = _ask(server, {"dataframe_split": frame})
    assert status == 200
    found = np.array(answer["predictions"]["code"], dtype=np.float32)
    np.testing.assert_array_equal(found, packaged.code)
