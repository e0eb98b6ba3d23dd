"""The five stages on own rows: each input that data/own/README.md lists reaches the report."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image
from safetensors.numpy import save_file

from helpers import QUICK, STAGES, make_project, write_params
from helpers.pages import Page
from rhobeta.cli import main
from rhobeta.config.params import load_params
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


DRAW = np.random.default_rng(0)
Y = np.arange(120) % 2
NAMES = np.array(["cat", "dog"])
VECTORS = DRAW.normal(5, 1, (120, 6)) + Y[:, None]
COLOURS = DRAW.integers(0, 256, (120, 6, 5, 3), dtype=np.uint8)


class Input(NamedTuple):
    """What a user may have, and what it becomes."""

    write: Callable[[Path], None]
    shape: tuple[int, ...]
    """Of a sample."""
    rows: tuple[int, int]
    """Of the training and the validation split together, and of the test split."""
    classes: list[str] | None
    """The names of the classes; None: no labels."""
    changes: dict[str, Any] = {}  # noqa: RUF012
    """Of parameters."""


def _npz(own: Path) -> None:
    arrays = {"x_train": VECTORS[:100], "y_train": Y[:100], "x_test": VECTORS[100:]}
    np.savez_compressed(own / "a.npz", **arrays, y_test=Y[100:])


def _safetensors(own: Path) -> None:
    save_file({"layer": (1000 * VECTORS).astype(np.int32)}, own / "a.safetensors")


def _parquet(own: Path) -> None:
    for part, chosen in enumerate(np.split(np.arange(120), 2)):
        lists = list(VECTORS[chosen].astype(np.float32))
        table = pd.DataFrame({"embedding": lists, "label": NAMES[Y[chosen]]})
        table.to_parquet(own / f"part-{part:03}.parquet")


def _parts(own: Path) -> None:
    for part, values in enumerate(np.split(VECTORS.astype(np.float16), 3)):
        np.save(own / f"part-{part:03}.npy", values)
    np.save(own / "labels.npy", NAMES[Y])


def _channels_last(own: Path) -> None:
    np.save(own / "images.npy", COLOURS)
    np.save(own / "labels.npy", NAMES[Y])


def _channels_first(own: Path) -> None:
    np.savez(own / "a.npz", images=COLOURS.transpose(0, 3, 1, 2))


def _one_folder(own: Path) -> None:
    (own / "photos").mkdir()
    for number, pixels in enumerate(COLOURS):
        # Of two sizes, every other one grey.
        picture = Image.fromarray(pixels[: 6 - number % 2])
        picture = picture.convert("L") if number % 2 else picture
        picture.save(own / "photos" / f"{number:03}.png")


INPUTS = {
    "float64 in .npz with test data": Input(_npz, (6,), (100, 20), ["0", "1"]),
    "integers in .safetensors without labels": Input(_safetensors, (6,), (102, 18), None),
    "lists in .parquet parts with text labels": Input(_parquet, (6,), (102, 18), ["cat", "dog"]),
    "float16 in .npy parts, labels beside, mapped": Input(
        _parts, (6,), (102, 18), ["cat", "dog"], {"runtime.data_memory": 0}
    ),
    "(n, h, w, 3), two classes by name": Input(
        _channels_last, (6, 5, 3), (102, 18), ["cat", "dog"], {"data.classes": ["cat", "dog"]}
    ),
    "(n, 3, h, w) without labels": Input(_channels_first, (6, 5, 3), (102, 18), None),
    "one folder of several sizes and colours": Input(
        _one_folder, (5, 4), (102, 18), None, {"data.image_size": [5, 4], "data.color": "grey"}
    ),
}


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS.keys())
def test_every_input_reaches_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_database: Path, given: Input
) -> None:
    few = {"training.epochs": 1, "evaluate.tasks": ["compression"], "visualize.filters": 5}
    project = new_project(tmp_path, monkeypatch, **few, **given.changes)
    given.write(project.own_data)
    project.store.mkdir()
    shutil.copyfile(blank_database, project.store / "mlflow.db")
    params = load_params(project.params)
    for stage in STAGES:
        import_module(f"rhobeta.pipeline.{stage}").run(params, project)

    manifest = read_manifest(project.splits)
    train, validation, test = (facts["images"] for facts in manifest.splits.values())
    assert (manifest.sample_shape, (train + validation, test)) == (given.shape, given.rows)
    report, dashboard = Page(project.report.read_text()), Page(project.dashboard.read_text())
    assert ("The data has no labels" in report.text) is (given.classes is None)
    assert ("Rows are not images" in report.text) is (len(given.shape) == 1)
    assert report.is_self_contained()
    for name in given.classes or []:
        assert f"class {name}" in dashboard.text.lower()
