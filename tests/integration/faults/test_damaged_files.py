"""Files that are damaged, swapped or lost between the stage that writes and those that read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import QUICK, STAGES, StartAfter, write_params
from helpers.injected import outputs, refused, runs_of, succeeds
from rhobeta.paths import Paths

# Of each file that one stage hands to another, the stages that read it.
READERS = {
    "data/raw/dataset.json": ["preprocess"],
    "data/raw/train-images-idx3-ubyte": ["preprocess"],
    "data/raw/t10k-labels-idx1-ubyte": ["preprocess"],
    "data/baselines.safetensors": ["evaluate"],
    "data/processed/manifest.json": ["train", "evaluate"],
    "data/processed/train.safetensors": ["train", "evaluate"],
    "data/processed/validation.safetensors": ["train"],
    "data/processed/test.safetensors": ["evaluate"],
    "models/autoencoder.safetensors": ["evaluate", "visualize"],
    "reports/evaluation.safetensors": ["visualize"],
    "reports/details.json": ["visualize"],
    "reports/plots/rate_distortion.csv": ["visualize"],
}


@pytest.mark.parametrize(
    ("name", "stage"), [(name, stage) for name, stages in READERS.items() for stage in stages]
)
def test_flipped_bit_is_refused(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    name: str,
    stage: str,
) -> None:
    start_after(STAGES[STAGES.index(stage) - 1])
    file = paths.workspace / name
    whole = file.read_bytes()
    before = outputs(paths) | {name: b""}
    for position in (0, 8, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        refused(capsys, stage, file.name)
        assert outputs(paths) | {name: b""} == before
    statuses = [run.info.status for run in runs_of(paths)] if paths.store.exists() else []
    assert set(statuses) <= {"FINISHED"}


def _other_images(paths: Paths) -> None:
    write_params(paths.workspace, QUICK | {"data.seed": 1})
    succeeds("preprocess")


def _other_model(paths: Paths) -> None:
    write_params(paths.workspace, QUICK | {"training.seed": 1, "training.epochs": 1})
    succeeds("train")


@pytest.mark.parametrize(
    ("after", "change", "stage", "told"),
    [
        ("train", _other_images, "evaluate", "was trained on data"),
        ("evaluate", _other_model, "visualize", "belongs to another autoencoder.safetensors"),
    ],
    ids=["data", "model"],
)
def test_files_that_do_not_belong_together_are_refused(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    after: str,
    change: Callable[[Paths], None],
    stage: str,
    told: str,
) -> None:
    start_after(after)
    change(paths)
    refused(capsys, stage, told, "dvc repro")
    assert not (paths.metrics if stage == "evaluate" else paths.report).exists()


@pytest.mark.slow
def test_files_of_another_evaluation_are_refused(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("evaluate")
    kept = paths.evaluation.read_bytes()
    write_params(paths.workspace, QUICK | {"evaluate.dead_threshold": 0.5})
    succeeds("evaluate")
    paths.evaluation.write_bytes(kept)
    refused(capsys, "visualize", "belongs to another details.json", "--force evaluate")
    succeeds("evaluate")
    succeeds("visualize")


@pytest.mark.parametrize("stage", STAGES[1:])
def test_missing_file_is_named(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    start_after(STAGES[STAGES.index(stage) - 1])
    for name, stages in READERS.items():
        if stage in stages:
            file: Path = paths.workspace / name
            content = file.read_bytes()
            file.unlink()
            refused(capsys, stage, f"{file} is missing")
            file.write_bytes(content)
