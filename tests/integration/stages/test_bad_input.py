"""Foreseeable faults: one clear message, a non-zero exit, nothing that looks finished."""

import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import DIGITS, QUICK, STAGES, StartAfter, write_params
from rhobeta.cli import main
from rhobeta.paths import Paths
from rhobeta.utils.checksum import write_json_with_checksum


def _refused(capsys: pytest.CaptureFixture[str], stage: str, *expected: str) -> str:
    capsys.readouterr()
    assert main([stage]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"rhobeta {stage}: ")
    assert "Traceback" not in message
    for text in expected:
        assert text in message, message
    return message


def _run_until(last: str) -> None:
    for stage in STAGES[: STAGES.index(last) + 1]:
        assert main([stage]) == 0


def _replace_own_data(paths: Paths, **arrays: np.ndarray) -> None:
    (paths.own_data / "digits.npz").unlink()
    np.savez(paths.own_data / "mine.npz", **arrays)


def test_more_images_than_labels_are_refused(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(DIGITS) as archive:
        _replace_own_data(paths, images=archive["images"], labels=archive["labels"][:-7])
    _refused(capsys, "download", "600 images but 593 labels")
    assert not paths.raw_data.exists()


def test_data_set_with_one_class_is_refused(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(DIGITS) as archive:
        _replace_own_data(paths, images=archive["images"], labels=np.zeros(600, np.uint8))
    _run_until("download")
    _refused(capsys, "preprocess", "images of 1 class", "two or more")
    assert not paths.splits.exists()


def test_class_that_the_data_lacks_is_refused(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("download")
    write_params(paths.workspace, QUICK | {"data.classes": [3, 77]})
    _refused(capsys, "preprocess", "data.classes", "77", "0, 1, 2, 3")
    assert not paths.splits.exists()


@pytest.mark.parametrize("classes", [[], [4]])
def test_class_subset_of_less_than_two_is_refused(
    paths: Paths, capsys: pytest.CaptureFixture[str], classes: list[int]
) -> None:
    write_params(paths.workspace, QUICK | {"data.classes": classes})
    _refused(capsys, "download", "data.classes", f"found {classes}")
    assert not paths.raw_data.exists()


def test_missing_own_data_is_asked_for(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    (paths.own_data / "digits.npz").unlink()
    _refused(capsys, "download", "data/own", "images", "labels")


def test_own_data_that_nothing_tracks_is_named_in_an_experiment(
    paths: Paths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`dvc exp run --temp` has copied what git and DVC track."""
    origin = tmp_path / "origin"
    shutil.copytree(paths.own_data, origin / "data" / "own")
    (paths.own_data / "digits.npz").unlink()
    monkeypatch.setenv("DVC_ROOT", str(origin))
    _refused(capsys, "download", "lacks digits.npz", "dvc add data/own/digits.npz")


def test_relative_data_folder_is_relative_to_the_project_of_origin(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"data.name": "kmnist", "runtime.data_folder": "../files"}
    write_params(paths.workspace, QUICK | changes)
    asked = []
    monkeypatch.setattr(
        "rhobeta.pipeline.download.fetch_all", lambda *_, folder: asked.append(folder)
    )
    monkeypatch.setattr("rhobeta.pipeline.download.describe_raw", lambda *_, **__: None)
    monkeypatch.chdir(paths.own_data)
    for root in (paths.workspace, tmp_path / "origin"):
        monkeypatch.setenv("DVC_ROOT", str(root))
        assert main(["download"]) == 0
    assert asked == [paths.workspace / "../files", tmp_path / "origin" / "../files"]


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_model_file_of_rubbish_is_refused(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    start_after("preprocess")
    paths.model.parent.mkdir()
    paths.model.write_bytes(content)
    _refused(capsys, "evaluate", str(paths.model), "dvc checkout")
    assert not paths.metrics.exists()


def test_model_of_another_image_size_is_refused(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    with np.load(DIGITS) as archive:
        _replace_own_data(paths, images=archive["images"][:, ::2, ::2], labels=archive["labels"])
    _run_until("preprocess")
    _refused(capsys, "evaluate", "28 x 28", "14 x 14", "dvc repro")
    assert not paths.metrics.exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"evaluate.normal_classes": [3, 77]},
            ["evaluate.normal_classes: found [3, 77]", "no class 77", "some of 0, 1, 2, 3, 4"],
        ),
        (
            {"evaluate.normal_classes": list(range(10))},
            ["evaluate.normal_classes: found [0, 1", "all classes", "or null"],
        ),
    ],
    ids=["unknown class", "all classes"],
)
def test_tasks_that_the_data_cannot_score_are_refused(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    changes: dict,
    expected: list[str],
) -> None:
    start_after("train")
    (paths.splits / "test.safetensors").unlink()  # work would begin with reading it
    write_params(paths.workspace, QUICK | changes)
    _refused(capsys, "evaluate", *expected, "evaluate.tasks")
    assert not paths.metrics.exists()


def test_test_images_without_an_anomaly_are_refused(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    manifest = json.loads((paths.splits / "manifest.json").read_text())
    manifest["splits"]["test"]["per_class"] = {"3": 200}
    write_json_with_checksum(paths.splits / "manifest.json", manifest)
    for normal in (None, [3], [3, 4], [5]):
        write_params(paths.workspace, QUICK | {"evaluate.normal_classes": normal})
        _refused(capsys, "evaluate", "the test split has only images of 3", "evaluate.tasks")


@pytest.mark.slow
def test_numbers_that_are_not_defined_are_null(paths: Paths) -> None:
    from mlflow import MlflowClient

    # Every test image is the mean training image, so FVU divides by zero.
    images = np.repeat(np.array([0, 2], np.uint8), 30 * 36).reshape(60, 6, 6)
    labels = np.arange(60) % 3
    more = {"test_images": np.ones((6, 6, 6), np.uint8), "test_labels": labels[:6]}
    _replace_own_data(paths, images=images, labels=labels, **more)
    changes = {"data.validation_fraction": 0, "training.keep": "last", "evaluate.tasks": []}
    write_params(paths.workspace, QUICK | changes)
    _run_until("visualize")
    assert json.loads(paths.details.read_text())["test"]["fvu"] is None
    assert json.loads(paths.metrics.read_text())["test/fvu"] is None
    client = MlflowClient(f"sqlite:///{paths.store}/mlflow.db")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert "test/fvu" not in run.data.metrics
    assert "test/mse" in run.data.metrics
    assert "not defined" in paths.report.read_text()


def test_test_images_of_one_class_are_refused_before_training(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(DIGITS) as archive:
        arrays = dict(archive)
    of_three = arrays["test_labels"] == 3
    for name in ("test_images", "test_labels"):
        arrays[name] = arrays[name][of_three]
    np.savez(paths.own_data / DIGITS.name, **arrays)
    _run_until("download")
    _refused(capsys, "preprocess", "the test split has only images of 3", "evaluate.tasks")
    assert not paths.store.exists()


@pytest.mark.slow
def test_training_that_diverges_fails_and_writes_no_model(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    write_params(
        paths.workspace,
        QUICK | {"model.output_activation": "identity", "training.learning_rate": 1.0,
                 "model.hidden_sizes": [64] * 12, "training.epochs": 60,
                 "training.schedule": "constant", "penalty.kind": "none",
                 "model.code_activation": "relu"},
    )  # fmt: skip
    _run_until("preprocess")
    _refused(capsys, "train", "diverged", "training.learning_rate")
    assert not paths.model.exists()
    client = MlflowClient(f"sqlite:///{paths.store}/mlflow.db")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FAILED"
    assert "diverged" in run.data.tags["rhobeta.error"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"model.code_activation": "relu"},
            ("penalty.kind: found kl with model.code_activation relu", "kl_poisson"),
        ),
        (
            {"penalty.kind": "kl_poisson", "model.code_activation": "identity"},
            ("penalty.kind: found kl_poisson", "never negative", "relu or topk"),
        ),
        (
            {"penalty.kind": "none", "model.code_activation": "topk", "topk.start": 17},
            ("topk: found k 8 and start 17 with 16 units",),
        ),
        (
            {"training.pixel_loss": "bce", "model.output_activation": "identity"},
            ("training.pixel_loss: found bce", "allowed: sigmoid"),
        ),
        ({"data.validation_fraction": 0}, ("training.keep: found best", "allowed: last")),
        ({"penalty.kind": "kl_poison"}, ("penalty.kind: found 'kl_poison'", "mean kl_poisson?")),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else " ".join(value),
)
def test_parameters_that_do_not_fit_are_refused(
    paths: Paths, capsys: pytest.CaptureFixture[str], changes: dict, expected: tuple[str, ...]
) -> None:
    write_params(paths.workspace, QUICK | changes)
    for stage in ("download", "train"):
        _refused(capsys, stage, "params.yaml is refused", *expected)
    assert not paths.raw_data.exists()
    assert not paths.store.exists()


def test_tutorial_kl_beyond_its_domain_is_explained(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("preprocess")
    write_params(
        paths.workspace,
        QUICK | {"penalty.kind": "kl_tutorial", "model.code_activation": "relu",
                 "penalty.beta": 0, "training.learning_rate": 0.1},
    )  # fmt: skip
    _refused(capsys, "train", "diverged", "penalty.kind kl_tutorial takes", "kl_poisson")
    assert not paths.model.exists()


def test_broken_extension_is_refused(paths: Paths, rhobeta) -> None:
    write_params(paths.workspace, QUICK | {"model.code_activation": "topk"})
    refused = rhobeta("train")
    assert refused.returncode == 1
    assert "penalty.kind: found kl with model.code_activation topk" in refused.stderr
    (paths.workspace / "extensions" / "mine.py").write_text("import no_such_module_at_all\n")
    refused = rhobeta("train")
    assert refused.returncode == 1
    assert refused.stderr.startswith("rhobeta train: extensions/mine.py cannot be imported")
    assert "no_such_module_at_all" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not paths.store.exists()


def test_store_that_cannot_be_written_is_refused(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("preprocess")
    # A plain file in its place stops every user, root included.
    paths.store.write_text("in the way")
    _refused(capsys, "train", str(paths.store), "MLFLOW_TRACKING_URI")
    assert not paths.model.exists()


def test_database_that_is_none_is_refused(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("preprocess")
    paths.store.mkdir()
    (paths.store / "mlflow.db").write_bytes(b"this is not a database" * 100)
    _refused(capsys, "train", "mlflow.db", "not a database")


def test_tracking_server_that_is_down_is_refused(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_after("preprocess")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:hunter2@127.0.0.1:{port}")
    message = _refused(capsys, "train", f"127.0.0.1:{port}", "MLFLOW_TRACKING_URI")
    assert "hunter2" not in message
    assert not paths.model.exists()


def test_training_without_a_repository_is_refused(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("preprocess")
    shutil.rmtree(paths.workspace / ".git")
    _refused(capsys, "train", "git", "clone")


def test_training_without_git_is_refused(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_after("preprocess")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    _refused(capsys, "train", "git is not installed")


def test_command_outside_a_project_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(capsys, "train", "dvc.yaml")
