"""The baselines of the data: what they depend on, and that they belong to it."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values
from rhobeta.config.sections import EvaluateParams
from rhobeta.errors import RhobetaError
from rhobeta.metrics.data_baselines import (
    BASELINE_PARAMETERS,
    DataBaselines,
    read_baselines,
    rows_to_fit,
)
from rhobeta.metrics.probe import Labels, Representation
from rhobeta.paths import Paths

DATA = "ab" * 32
SETTINGS = EvaluateParams(
    **shipped_values()["evaluate"] | {"sparse_probe_units": [1], "few_labels": [2], "noise": [0.3]}
)


READ: set[str] = set()
"""The settings that `found` was computed from."""


class Noting:
    """Settings that note which of them are read."""

    def __getattr__(self, name: str) -> Any:
        READ.add(name)
        return getattr(SETTINGS, name)


@pytest.fixture(scope="module")
def found() -> DataBaselines:
    """Baselines of two small splits. Images have four pixels; the last pixel is always black."""
    random = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.uint8) % 2
    images = random.integers(0, 256, (40, 4)).astype(np.float32) / 255
    images[:, 3] = 0
    return DataBaselines.of_splits(
        Representation(images, images, images),
        Labels(labels, labels, labels),
        (2, 2),
        cast(EvaluateParams, Noting()),
        data_sha256=DATA,
    )


@pytest.fixture
def written(tmp_path: Path, found: DataBaselines) -> Paths:
    paths = Paths(tmp_path, tmp_path)
    paths.baselines.parent.mkdir()
    paths.baselines.write_bytes(found.to_bytes())
    return paths


def test_baselines_are_read_as_they_were_written(found: DataBaselines, written: Paths) -> None:
    again = read_baselines(written, SETTINGS, DATA)
    assert again.to_bytes() == found.to_bytes()
    assert (again.tasks, again.jpeg) == (found.tasks, found.jpeg)
    assert again.tasks.keys() == {"sparse_probe", "few_labels", "denoising", "anomaly"}
    assert again.tasks["denoising"].keys() == {"wiener_at_0.3", "noisy_at_0.3"}


def test_baselines_without_an_error_have_an_infinite_psnr() -> None:
    black, labels = np.zeros((8, 4), np.float32), np.arange(8, dtype=np.uint8) % 2
    settings = SETTINGS.model_copy(update={"tasks": ["denoising"]})
    made = DataBaselines.of_splits(
        Representation(black, black, black),
        Labels(labels, labels, labels),
        (2, 2),
        settings,
        data_sha256=DATA,
    )
    again = DataBaselines.from_bytes(made.to_bytes(), name="it")
    assert again.tasks["denoising"]["wiener_at_0.3"] == math.inf
    assert again.jpeg == []


def test_baselines_of_other_data_or_parameters_are_refused(written: Paths) -> None:
    with pytest.raises(RhobetaError, match="with other data"):
        read_baselines(written, SETTINGS, "cd" * 32)
    louder = SETTINGS.model_copy(update={"noise": [0.5], "dead_threshold": 0.5})
    with pytest.raises(RhobetaError, match=r"with other evaluate.noise\.\nRun `dvc repro`"):
        read_baselines(written, louder, DATA)


@pytest.mark.usefixtures("found")
def test_baseline_parameters_are_those_of_the_stage() -> None:
    assert set(BASELINE_PARAMETERS) == READ
    stages = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    declared = [name for name in stages["preprocess"]["params"] if name.startswith("evaluate.")]
    assert declared == [f"evaluate.{name}" for name in BASELINE_PARAMETERS]


def test_rows_to_fit_are_drawn_where_all_would_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rhobeta.metrics.data_baselines._MOST_BYTES", 4 * 10 * 6)
    assert rows_to_fit(6, 10, seed=0) is None
    rows = rows_to_fit(40, 10, seed=0)
    assert rows is not None
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == 6
    np.testing.assert_array_equal(rows, rows_to_fit(40, 10, seed=0))
    assert rows.tolist() != rows_to_fit(40, 10, seed=1).tolist()  # type: ignore[union-attr]
