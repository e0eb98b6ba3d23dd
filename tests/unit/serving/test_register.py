"""`rhobeta register` on a real sqlite store: when @champion moves, and what is said when not."""

import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import StartAfter, shipped_values, with_changes, write_params
from rhobeta.cli import main
from rhobeta.config.params import check_params
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.errors import RhobetaError
from rhobeta.lineage.models import Package, find_model, read_package
from rhobeta.lineage.project import Project
from rhobeta.lineage.runs import RunInfo, Runs
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_from_bytes, model_to_bytes
from rhobeta.paths import Paths
from rhobeta.serving import register as command
from rhobeta.serving.model_registry import Registry
from rhobeta.serving.register import GATE_TAG, REASONS_TAG, register
from rhobeta.tracking.package import PACKAGED_FILE, log_model
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import Store, open_store
from rhobeta.tracking.tags import DATA_TAG, MODEL_TAG
from rhobeta.utils.files import sha256_of_bytes

RULES = {
    "registry.thresholds": ["test/probe >= 0.9", "test/dead_units <= 3"],
    "registry.against_champion": ["test/fvu <= 0.01", "test/probe >= -0.005"],
}

# FVU, accuracy, dead units and data of the models that tests register.
MODELS = {
    "base": (0.25, 0.93, 0, "a"),
    "better": (0.24, 0.94, 0, "a"),
    "uneven": (0.20, 0.92, 0, "a"),
    "level": (0.25, 0.93, 0, "a"),
    "dead": (0.24, 0.95, 4, "a"),
    "elsewhere": (0.10, 0.99, 0, "b"),
}


@dataclass(frozen=True)
class Shelf:
    """A store with a run for each of `MODELS`."""

    paths: Paths
    store: Store
    runs: dict[str, str]
    model_id: str


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, test_digits: Samples) -> Shelf:
    """Only base has a package of its own; the other runs share it, for it takes a second each."""
    root = tmp_path_factory.mktemp("shelf")
    paths = Paths(root, root)
    architecture = Architecture((28, 28), (8,), "sigmoid", "relu", "sigmoid")
    described = ModelDescription(architecture, {"penalty.kind": "none"}, "a" * 64, 1, 0.1)
    content = model_to_bytes(Autoencoder(architecture, seed=1), described)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = open_store(paths, "rhobeta")
        runs, outputs = {}, []
        for name, (fvu, accuracy, dead, data) in MODELS.items():
            digest = sha256_of_bytes(content if name == "base" else name.encode())
            tags = {MODEL_TAG: digest, DATA_TAG: data * 64, "mlflow.note.content": f"of {name}"}
            with new_run(store, name=name, tags=tags) as run:
                run.log_metrics({"test/fvu": fvu, "test/probe": accuracy, "test/dead_units": dead})
                if name == "base":
                    log_model(run, content, example=pixels_of(test_digits.values[:2]))
                    outputs = store.client.get_run(run.run_id).outputs.model_outputs
                else:
                    store.client.log_outputs(run.run_id, outputs)
            runs[name] = run.run_id
    return Shelf(paths, store, runs, outputs[0].model_id)


Register = Callable[..., None]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Each test has a name of its own in the registry."""
    return request.node.name.replace("/", "-").replace(":", "-")[:100]


@pytest.fixture
def put(shelf: Shelf, name: str, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Register one of `MODELS` by the rules, with changes."""
    monkeypatch.setattr(command, "read_package", lambda *_: Package(shelf.model_id, b""))

    def run(model: str, *, new_data: bool = False, **changes: Any) -> None:
        given = {f"registry.{key}": value for key, value in changes.items()}
        rules = RULES | {"registry.name": name} | given
        params = check_params(with_changes(rules), where="it")
        register(Project(params, shelf.paths), word=shelf.runs[model], new_data=new_data)

    return run


@pytest.fixture
def state(shelf: Shelf, name: str) -> Callable[[], tuple[list[str], str | None]]:
    """The models of all versions, in order, and that of the champion."""
    names = {run: model for model, run in shelf.runs.items()}

    def look() -> tuple[list[str], str | None]:
        found = [v for v in shelf.store.client.search_model_versions() if v.name == name]
        found.sort(key=lambda version: int(version.version))
        champion = Registry(Runs(shelf.store), name).champion()
        return [names[v.run_id] for v in found], champion and names[champion.run_id]

    return look


def test_the_first_that_keeps_the_thresholds_is_champion(put, state, shelf, name, capsys) -> None:
    put("base")
    assert state() == (["base"], "base")
    assert f"@champion of {name} is version 1 (there was none)" in capsys.readouterr().out
    version = Registry(Runs(shelf.store), name).champion()
    assert version.tags[GATE_TAG] == "passed"
    assert (
        version.tags[MODEL_TAG] == shelf.store.client.get_run(version.run_id).data.tags[MODEL_TAG]
    )
    assert version.tags[DATA_TAG] == "a" * 64
    assert version.description == "of base"
    assert version.source == f"models:/{shelf.model_id}"


def test_a_broken_threshold_registers_without_the_alias(put, state, shelf, name) -> None:
    with pytest.raises(RhobetaError) as caught:
        put("dead")
    assert str(caught.value).splitlines() == [
        f"version 1 of {name} is registered, but is not made @champion (there is none), since it"
        " breaks rules of params.yaml's section registry:",
        "  test/dead_units 4, not <= 3",
    ]
    assert state() == (["dead"], None)
    version = shelf.store.client.get_model_version(name, "1")
    assert version.tags[GATE_TAG] == "refused"
    assert version.tags[REASONS_TAG] == "test/dead_units 4, not <= 3"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("better", None),
        ("uneven", "test/probe 0.92, champion 0.93: difference -0.01, not >= -0.005"),
        ("level", "not better than the champion in any of test/fvu, test/probe"),
        ("dead", "test/dead_units 4, not <= 3"),
    ],
)
def test_a_second_model_takes_the_alias_only_by_all_rules(put, state, model, reason) -> None:
    put("base")
    if reason is None:
        put(model)
        assert state() == (["base", model], model)
        return
    with pytest.raises(RhobetaError) as caught:
        put(model)
    assert str(caught.value).endswith(f"\n  {reason}")
    assert "(which stays version 1)" in str(caught.value)
    assert state() == (["base", model], "base")


def test_the_same_model_is_registered_once(put, state, capsys) -> None:
    put("base")
    capsys.readouterr()
    put("base")
    said = capsys.readouterr().out
    assert "this model is registered already: version 1" in said
    assert "version 1 of test_the_same_model_is_registered_once is @champion already" in said
    assert state() == (["base"], "base")
    put("better")
    with pytest.raises(RhobetaError, match=r"version 1 .* is registered, but is not made"):
        put("base")
    assert state() == (["base", "better"], "better")


def test_other_rules_may_let_a_registered_model_pass(put, state) -> None:
    with pytest.raises(RhobetaError):
        put("dead")
    put("dead", thresholds=["test/dead_units <= 4"])
    assert state() == (["dead"], "dead")


def test_a_champion_that_breaks_new_rules_stays_and_is_named(put, state, shelf, name) -> None:
    put("base")
    with pytest.raises(RhobetaError, match=r"is @champion and stays it, but breaks"):
        put("base", thresholds=["test/fvu <= 0.2"])
    assert state() == (["base"], "base")
    assert Registry(Runs(shelf.store), name).champion().tags[GATE_TAG] == "passed"


def test_numbers_of_another_data_set_are_not_compared(put, state) -> None:
    put("base")
    with pytest.raises(RhobetaError, match=r"on data aaaa.*this model on bbbb.*new-data"):
        put("elsewhere")
    assert state() == (["base", "elsewhere"], "base")
    put("elsewhere", new_data=True)
    assert state() == (["base", "elsewhere"], "elsewhere")


def test_new_data_lets_nothing_pass_on_the_same_data(put, state) -> None:
    put("base")
    with pytest.raises(RhobetaError, match=r"not >= -0\.005"):
        put("uneven", new_data=True)
    assert state() == (["base", "uneven"], "base")


def test_a_metric_that_the_run_lacks_registers_nothing(put, state) -> None:
    with pytest.raises(RhobetaError, match=r"no metric test/fvvu, .*Did you mean test/fvu\?"):
        put("base", thresholds=["test/fvvu <= 1"])
    assert state() == ([], None)


def test_a_champion_that_came_meanwhile_is_not_pushed_back(
    put, state, shelf, name, monkeypatch
) -> None:
    put("base")
    put("better", against_champion=["test/fvu <= 1"])
    client = shelf.store.client
    client.set_registered_model_alias(name, "champion", "1")
    judged = command._judged
    calls = []

    def and_then_another_comes(*arguments: Any) -> Any:
        found = judged(*arguments)
        if not calls:
            client.set_registered_model_alias(name, "champion", "2")
        calls.append(found[0].version)
        return found

    monkeypatch.setattr(command, "_judged", and_then_another_comes)
    # 0.20 keeps the rule beside base's 0.25, and breaks it beside better's 0.24.
    rule = ["test/fvu <= -0.045"]
    with pytest.raises(RhobetaError, match=r"champion 0\.24: difference -0\.04, not <= -0\.045"):
        put("uneven", against_champion=rule)
    assert [int(version) for version in calls] == [1, 2]
    assert state() == (["base", "better", "uneven"], "better")


def test_the_same_model_from_two_machines_at_once_is_one_version(put, state, monkeypatch) -> None:
    add = Registry.add

    def twice(self: Registry, **given: Any) -> Any:
        add(self, **given)
        return add(self, **given)

    monkeypatch.setattr(Registry, "add", twice)
    put("base")
    assert state() == (["base"], "base")


class _OldServer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def old_server() -> Iterator[str]:
    """The address of a server that knows nothing of a registry."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _OldServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["carrierpigeon://coop", "file:///nowhere", "an old server"])
def test_a_store_without_a_registry_is_explained(
    put, place: str, old_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = old_server if place == "an old server" else place
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", address)
    with pytest.raises(RhobetaError) as caught:
        put("base")
    assert str(caught.value).startswith(f"{address} offers no model registry that can be used: ")
    assert "Nothing was registered" in str(caught.value)


def test_words_that_lead_to_no_package_are_explained(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shelf.paths.workspace)
    project = Project(check_params(shipped_values(), where="it"), shelf.paths)
    run = shelf.runs["base"]
    assert find_model(run[:8], project).sha256 == find_model("base", project).sha256
    with pytest.raises(RhobetaError, match=rf"Nothing is known .*Did you mean {run}\?"):
        find_model(run[:-1] + "x", project)
    with pytest.raises(RhobetaError, match="Expected: a model file") as caught:
        find_model("zebra", project)
    assert "Did you mean" not in str(caught.value)
    with new_run(shelf.store, name="deleted", tags={}) as deleted:
        pass
    with pytest.raises(RhobetaError, match="did not finish"):
        find_model("deleted", project)
    shelf.store.client.delete_run(deleted.run_id)
    with pytest.raises(RhobetaError, match=f"mlflow runs restore --run-id {deleted.run_id}"):
        find_model(deleted.run_id, project)


def test_a_package_is_read_and_held_against_the_run(shelf: Shelf, test_digits: Samples) -> None:
    runs = Runs(shelf.store)

    def info(run_id: str) -> RunInfo:
        found = runs.get(run_id)
        assert found is not None
        return found

    base = info(shelf.runs["base"])
    package = read_package(runs, base)
    assert sha256_of_bytes(package.content) == base.model_sha256
    with new_run(shelf.store, name="damaged", tags={MODEL_TAG: "f" * 64}) as run:
        log_model(run, package.content, example=pixels_of(test_digits.values[:2]))
    with pytest.raises(RhobetaError, match="is not the one that the run made"):
        read_package(runs, info(run.run_id))
    # It leads to the model of another run, and made none itself.
    with pytest.raises(RhobetaError, match="has no model"):
        read_package(runs, info(shelf.runs["better"]))
    (file,) = shelf.paths.store.rglob(f"{package.model_id}/artifacts/{PACKAGED_FILE}")
    hidden = file.rename(file.with_name("hidden"))
    try:
        with pytest.raises(RhobetaError, match=r"cannot be read: .*\nIts files"):
            read_package(runs, base)
    finally:
        hidden.rename(file)


def test_differently_measured_runs_of_a_model_are_refused(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shelf.store.client.get_run(shelf.runs["base"])
    monkeypatch.chdir(shelf.paths.workspace)
    params = check_params(with_changes(RULES | {"registry.name": "claimed"}), where="it")
    runs = []
    for accuracy in (0.95, 0.95, 0.96):
        with new_run(shelf.store, name="claim", tags={MODEL_TAG: "9" * 64}) as run:
            run.log_metrics(base.data.metrics | {"test/probe": accuracy})
        runs.append(run.run_id)
        # Measured alike, it does not matter which; the newest it is, which has no package here.
        said = "3 runs claim this model" if len(runs) == 3 else f"The run {run.run_id} .*no model"
        with pytest.raises(RhobetaError, match=said) as caught:
            register(Project(params, shelf.paths), word="9" * 64, new_data=False)
    assert all(f"{run_id}: " in str(caught.value) for run_id in runs)
    assert "test/probe 0.96" in str(caught.value)
    assert not [v for v in shelf.store.client.search_model_versions() if v.name == "claimed"]


@pytest.mark.slow
def test_mlflow_loads_the_champion_of_the_command(
    paths: Paths,
    start_after: StartAfter,
    test_digits: Samples,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow.pyfunc

    from helpers import QUICK

    start_after("evaluate")
    write_params(paths.workspace, QUICK | {"registry.thresholds": ["test/probe >= 0.1"]})
    assert main(["register"]) == 0
    assert "@champion of rhobeta is version 1" in capsys.readouterr().out
    write_params(paths.workspace, QUICK | {"registry.thresholds": ["test/probe >= 1"]})
    assert main(["register"]) == 1
    assert "is @champion and stays it" in capsys.readouterr().err
    uri = f"sqlite:///{paths.store}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    champion = mlflow.pyfunc.load_model("models:/rhobeta@champion")
    pixels = pixels_of(test_digits.values[:5])
    library = model_from_bytes(paths.model.read_bytes(), name="it").model
    import torch

    with torch.inference_mode():
        expected = library.encode(torch.from_numpy(pixels)).numpy()
    found = champion.predict(pixels, params={"output": "encode"})["code"]
    np.testing.assert_array_equal(found, expected)
    paths.model.unlink()
    assert main(["register"]) == 1
    assert "autoencoder.safetensors is missing" in capsys.readouterr().err
    assert main(["register", "--run", "nothing"]) == 1
    assert "Nothing is known by the name 'nothing'" in capsys.readouterr().err
    # What the run has packaged does as well.
    run_id = champion.metadata.run_id
    np.save("images.npy", test_digits.values[:5])
    assert main(["encode", "images.npy", "--model", run_id]) == 0
    with np.load("codes.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["code"], expected)


def test_a_model_that_was_not_measured_is_not_registered(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    assert main(["register"]) == 1
    message = capsys.readouterr().err
    assert "was not measured on the test split" in message
    assert "rhobeta evaluate" in message
    uri = f"sqlite:///{paths.store}/mlflow.db"
    from mlflow import MlflowClient

    assert Path(paths.store, "mlflow.db").is_file()
    assert not MlflowClient(uri).search_registered_models()
