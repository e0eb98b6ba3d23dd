"""The five stages on own rows: vectors without labels, and colour pictures by folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from helpers import QUICK, STAGES, make_project, write_params
from helpers.pages import Page
from rhobeta.cli import main
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.metrics.encoding import codes_of
from rhobeta.model.model_file import read_model
from rhobeta.paths import Paths

pytestmark = pytest.mark.slow


def new_project(root: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Paths:
    """A project without data, which becomes the current folder."""
    folder = root / "project"
    make_project(folder)
    (folder / "data" / "own" / "digits.npz").unlink()
    write_params(folder, QUICK | {"training.epochs": 3, "visualize.filters": 10} | changes)
    monkeypatch.chdir(folder)
    return Paths(folder, folder)


def run_stages(capsys: pytest.CaptureFixture[str]) -> str:
    for stage in STAGES:
        assert main([stage]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_vectors_without_labels_from_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas as pd

    changes = {"model.output_activation": "auto", "training.epochs": 30, "training.batch_size": 16}
    project = new_project(tmp_path, monkeypatch, **changes)
    random = np.random.default_rng(0)
    hidden = random.normal(size=(150, 2))
    # Means far from 0, values far outside [0, 1].
    values = 50 + 10 * hidden @ random.normal(size=(2, 5)) + random.normal(size=(150, 5))
    names = ["width", "height", "mass", "age", "price of it"]
    pd.DataFrame(values, columns=names).to_parquet("data/own/rows.parquet")
    said = run_stages(capsys)
    assert "note: the rows are not images; not scored: denoising" in said
    assert "note: the data has no labels; not scored: linear probe, sparse probe" in said

    manifest = read_manifest(project.splits)
    assert (manifest.sample_shape, manifest.classes) == ((5,), [])
    assert manifest.feature_names == names
    metrics = json.loads(project.metrics.read_text())
    assert list(metrics) == ["test/mse", "test/fvu", "test/l0_at_0.1"]
    # Inputs were centred and scaled: else these epochs would not leave the mean row.
    assert 0 < metrics["test/fvu"] < 0.9
    details = json.loads(project.details.read_text())
    assert details.keys() == {"test", "baselines", "beats_baseline", "compression"}
    # Five components rebuild five features; nothing is clipped.
    assert details["baselines"]["pca_mse"] < 1e-6 * details["baselines"]["mean_image_mse"]
    figures = {path.stem for path in project.figures.iterdir()}
    assert {"feature_errors", "reconstructions", "filters", "embedding"} <= figures
    assert not {"class_code", "anomaly", "denoising"} & figures
    report = Page(project.report.read_text())
    assert "The data has no labels" in report.text
    assert "FVU against the mean row" in report.text
    dashboard = Page(project.dashboard.read_text())
    assert "price of it" in dashboard.text
    assert report.is_self_contained()
    assert dashboard.is_self_contained()
    assert main(["summary"]) == 0
    assert "FVU against the mean row" in capsys.readouterr().out

    np.save("rows.npy", values[:7])
    assert main(["encode", "rows.npy"]) == 0
    with np.load("codes.npz") as archive:
        model = read_model(project.model).model
        np.testing.assert_array_equal(
            archive["code"], codes_of(model, values[:7].astype(np.float32))
        )
    client = MlflowClient(f"sqlite:///{project.store}/mlflow.db")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert "Test FVU" in run.data.tags["mlflow.note.content"]
    assert "test/probe" not in run.data.metrics
    assert main(["register"]) == 1
    assert "has no metric test/probe" in capsys.readouterr().err


def test_colour_pictures_in_folders_of_their_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ["sparse_probe", "anomaly", "compression"]
    project = new_project(tmp_path, monkeypatch, **{"evaluate.tasks": tasks})
    random = np.random.default_rng(0)
    for channel, name in enumerate(("apple", "meadow", "sea")):
        folder = Path("data/own", name)
        folder.mkdir()
        for number in range(40):
            pixels = random.integers(0, 90, (8, 8, 3))
            pixels[..., channel] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")
    run_stages(capsys)

    manifest = read_manifest(project.splits)
    assert manifest.sample_shape == (8, 8, 3)
    assert manifest.class_names == ["apple", "meadow", "sea"]
    details = json.loads(project.details.read_text())
    assert details["test"]["probe"] > 0.9
    assert details["compression"]["jpeg_bits"] is None or details["compression"]["jpeg_bits"] > 0
    assert list(json.loads(project.metrics.read_text()))[-1] == "test/probe"
    text = project.dashboard.read_text()
    page = Page(text)
    titles = {f"Class {name}" for name in manifest.class_names}
    assert any(title in page.text for title in titles)
    assert 'data-words="unit' in text
    assert "class apple" in Page(project.report.read_text()).text
    test = read_split(project.splits, "test", manifest)
    Path("few").mkdir()
    for number, image in enumerate(test.values[:3]):
        Image.fromarray(image).save(f"few/{number}.png")
    assert main(["encode", "few"]) == 0
    with np.load("codes.npz") as archive:
        assert archive["code"].shape == (3, 16)
