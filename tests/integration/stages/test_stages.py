"""The stages on the fixture: what they write, and what they log into the run."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image as mpl_image
from mlflow import MlflowClient

from helpers import QUICK, STAGES, StartAfter, git, write_params
from rhobeta.cli import main
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.metrics.encoding import encode_images
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.serialization import model_from_bytes
from rhobeta.paths import Paths
from rhobeta.reporting.dashboard import images_png
from rhobeta.reporting.pages import png_source
from rhobeta.reporting.tables import task_rows


def _client(paths: Paths) -> MlflowClient:
    return MlflowClient(f"sqlite:///{paths.store}/mlflow.db")


def _runs(paths: Paths):
    client = _client(paths)
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


TASKS = ("sparse_probe", "few_labels", "denoising", "anomaly", "compression")
CODE_FIGURES = (
    *("activity", "class_code", "embedding", "filters", "firing_rates"),
    *("learning_curves", "reconstructions", "unit_activity"),
)


@pytest.fixture
def finished(paths: Paths, start_after: StartAfter) -> Paths:
    """A workspace after all five stages."""
    start_after("visualize")
    return paths


def test_stages_write_every_output(finished: Paths, digits: Samples, test_digits: Samples) -> None:
    manifest = read_manifest(finished.splits)
    train = read_split(finished.splits, "train", manifest)
    validation = read_split(finished.splits, "validation", manifest)
    test = read_split(finished.splits, "test", manifest)
    assert np.array_equal(test.values, test_digits.values)
    assert len(train.labels) + len(validation.labels) == len(digits.labels)

    saved = model_from_bytes(finished.model.read_bytes(), name="model")
    assert saved.description.data_sha256 == manifest.sha256
    assert saved.description.parameters["penalty.rho"] == QUICK["penalty.rho"]
    assert saved.model.architecture.layer_sizes == (784, 16)

    rows = list(csv.DictReader(finished.history.open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    losses = [float(row["validation_loss"]) for row in rows]
    assert saved.description.best_loss == pytest.approx(min(losses), rel=1e-6)

    metrics = json.loads(finished.details.read_text())
    pixels = pixels_of(test.values)
    rebuilt = encode_images(saved.model, pixels).reconstruction
    mse = np.square(pixels.astype(np.float64) - rebuilt).mean()
    mean = pixels_of(train.values).mean(0, dtype=np.float64)
    assert metrics["test"]["mse"] == pytest.approx(mse, rel=1e-9)
    fvu = mse / np.square(pixels - mean).mean()
    assert metrics["test"]["fvu"] == pytest.approx(fvu, rel=1e-6)
    baseline = np.square(pixels - mean).mean()
    assert metrics["baselines"]["mean_image_mse"] == pytest.approx(baseline, rel=1e-6)
    assert metrics["beats_baseline"]["mean_image"] is bool(mse < baseline)
    assert metrics["baselines"]["pca_clipped_mse"] <= metrics["baselines"]["pca_mse"]

    counts = list(csv.DictReader(finished.l0_distribution.open()))
    assert sum(int(row["images"]) for row in counts) == 200
    activity = [
        float(row["mean_activity"]) for row in csv.DictReader(finished.unit_activity.open())
    ]
    assert activity == sorted(activity, reverse=True)
    assert np.mean(activity) == pytest.approx(metrics["test"]["rho_hat_mean"])


def test_metrics_of_every_task_are_in_the_run(finished: Paths) -> None:
    metrics = json.loads(finished.details.read_text())
    assert list(metrics) == ["test", "baselines", *TASKS, "beats_baseline"]
    assert len(metrics["beats_baseline"]) == 15
    (run,) = _runs(finished)
    for section in ("test", "baselines", *TASKS):
        for name, value in metrics[section].items():
            assert run.data.metrics.get(f"{section}/{name}") == value, name


def test_rate_table_holds_the_operating_point(finished: Paths) -> None:
    rows = list(csv.DictReader(finished.rate_distortion.open()))
    order = [(("code", "pca", "jpeg").index(row["coder"]), float(row["bits"])) for row in rows]
    assert order == sorted(order)
    compression = json.loads(finished.details.read_text())["compression"]
    point = (f"{compression['code_bits']:.9g}", f"{compression['mse']:.9g}")
    assert point in [(row["bits"], row["mse"]) for row in rows if row["coder"] == "code"]


@pytest.mark.slow
def test_some_tasks_and_too_many_labels(
    finished: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads(finished.details.read_text())
    changes = {"evaluate.few_labels": [20, 10_000], "evaluate.tasks": ["few_labels"]}
    write_params(finished.workspace, QUICK | changes)
    for stage in ("preprocess", *STAGES[3:]):
        assert main([stage]) == 0
    metrics = json.loads(finished.details.read_text())
    assert list(metrics) == ["test", "baselines", "few_labels", "beats_baseline"]
    assert metrics["few_labels"].keys() == {"code_at_20", "pca_at_20", "pixels_at_20"}
    assert all(metrics[section] == before[section] for section in list(metrics)[:2])
    assert "few_labels 10000 is not scored" in capsys.readouterr().out
    assert finished.rate_distortion.read_text() == "coder,bits,mse\n"
    figures = {path.stem for path in finished.figures.iterdir()}
    assert figures == {*CODE_FIGURES, "few_labels"}
    assert "Not scored: sparse_probe, denoising" in finished.report.read_text()


def test_figures_are_not_blank_and_are_in_the_report(finished: Paths) -> None:
    figures = {path.stem: mpl_image.imread(path) for path in finished.figures.iterdir()}
    assert figures.keys() == {*CODE_FIGURES, *TASKS, "rate_distortion"} - {"compression"}
    for name, picture in figures.items():
        assert min(picture.shape[:2]) > 80, name
        assert picture[..., :3].std() > 0.02, f"{name} is blank"
    # The figures, and the sheet of thumbnails.
    assert finished.report.read_text().count("data:image/png;base64,") == len(figures) + 1


def test_dashboard_shows_the_images_that_excite_a_unit(finished: Paths) -> None:
    record = TestRecord.from_bytes(finished.evaluation.read_bytes(), name="it")
    test = read_split(finished.splits, "test", read_manifest(finished.splits))
    activity = record.activity
    means = activity.mean(0, dtype=np.float64)
    assert sorted(record.top_units) == list(range(16))
    assert (np.diff(means[record.top_units]) <= 0).all()
    for unit, rows in zip(record.top_units, record.top_rows, strict=True):
        fired = min(9, int((activity[:, unit] > 0.1).sum()))
        strongest = np.argsort(-activity[:, unit], kind="stable")[:fired]
        assert rows.tolist() == [*strongest, *[-1] * (9 - fired)]
    unit, rows = record.top_units[0], record.top_rows[0]
    shown = png_source(images_png(test.values[rows[rows >= 0]]))
    assert f'that excite unit {unit} most" src="{shown}"' in finished.dashboard.read_text()
    page = finished.dashboard.read_text()
    assert page.count('<div class="card" ') == 16
    assert "measured on 200 test images" in page
    assert 'href="report.html"' in page
    assert 'href="dashboard.html"' in finished.report.read_text()


def test_one_run_holds_parameters_curves_data_and_files(finished: Paths) -> None:
    (run,) = _runs(finished)
    client = _client(finished)
    assert run.info.status == "FINISHED"
    for name in ("data.name", "model.hidden_sizes", "penalty.beta", "training.seed"):
        assert name in run.data.params
    for name in ("runtime.threads", "evaluate.dead_threshold", "visualize.filters"):
        assert name in run.data.params
    curve = client.get_metric_history(run.info.run_id, "Curves/validation_mse")
    assert [point.step for point in curve] == [1, 2]
    statistics = client.get_metric_history(run.info.run_id, "Curves/validation_l0_at_0.1")
    assert [point.step for point in statistics] == [1, 2]
    manifest = read_manifest(finished.splits)
    digests = {
        tag.value
        for data_set in run.inputs.dataset_inputs
        for tag in data_set.tags
        if tag.key == "sha256"
    }
    assert digests == {manifest.digest(name) for name in ("train", "validation", "test")}
    assert run.data.tags["rhobeta.data_sha256"] == manifest.sha256
    assert run.data.tags["mlflow.source.git.commit"] == git(finished.workspace, "rev-parse", "HEAD")
    assert run.data.tags["mlflow.source.git.dirty"] == "false"
    # MLflow's comparison begins with the first metric.
    assert next(iter(run.data.metrics)) == "Curves/validation_mse"
    results, links = run.data.tags["mlflow.note.content"].split("\n\n")
    assert "Test MSE" in results
    assert f"/runs/{run.info.run_id}/artifacts/report.html)" in links
    assert f"`{run.data.tags['rhobeta.command']}`" in links
    seconds = [run.data.metrics[f"seconds/{name}"] for name in ("train", "evaluate", "visualize")]
    assert run.data.metrics["seconds/total"] == pytest.approx(sum(seconds))
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"history.csv", "details.json", "figures", "report.html", "dashboard.html"} <= files
    pictures = {file.path for file in client.list_artifacts(run.info.run_id, "figures")}
    assert "figures/filters.png" in pictures


def test_summary_prints_results_and_places(
    finished: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["summary"]) == 0
    output = capsys.readouterr().out
    (run,) = _runs(finished)
    mse = json.loads(finished.details.read_text())["test"]["mse"]
    assert f"{mse:.5f}" in output
    for row in task_rows(json.loads(finished.details.read_text())):
        (line,) = (
            line
            for line in output.splitlines()
            if line.startswith(f"{row.name} ") and f" {row.baseline} " in line
        )
        assert line.endswith(f" {row.verdict}")
        assert f" {row.value} " in line
    assert str(finished.dashboard) in output
    assert str(finished.report) in output
    assert run.info.run_id in output


def test_summary_refuses_a_damaged_model(
    finished: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    content = finished.model.read_bytes()
    finished.model.write_bytes(content[:-1])
    capsys.readouterr()
    try:
        assert main(["summary"]) == 1
    finally:
        finished.model.write_bytes(content)
    assert f"{finished.model} is not a model of rhobeta, or is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_model_without_a_run_gets_one_marked_as_restored(
    finished: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"sqlite:///{finished.workspace}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert main(["evaluate"]) == 0
    client = MlflowClient(other)
    experiments = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    assert run.data.tags["rhobeta.restored"] == "true"
    assert run.data.params["penalty.rho"] == "0.2"
    assert "test/mse" in run.data.metrics
    curve = client.get_metric_history(run.info.run_id, "Curves/train_mse")
    assert [point.step for point in curve] == [1, 2]


@pytest.mark.slow
def test_run_holds_uncommitted_code(paths: Paths, start_after: StartAfter) -> None:
    start_after("preprocess")
    write_params(paths.workspace, QUICK | {"penalty.rho": 0.25})
    assert main(["train"]) == 0
    (run,) = _runs(paths)
    assert run.data.tags["mlflow.source.git.dirty"] == "true"
    local = _client(paths).download_artifacts(run.info.run_id, "code/uncommitted.diff")
    assert "rho: 0.25" in Path(local).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"model.code_activation": "tanh", "model.hidden_sizes": [32, 8]},
        {
            "data.classes": [3, 7],
            "model.code_activation": "relu",
            "penalty.kind": "l1_code",
            "training.pixel_loss": "bce",
        },
        {
            "model.code_activation": "topk",
            "model.tied_weights": True,
            "penalty.kind": "none",
            "topk.k": 4,
            "topk.start": 8,
        },
    ],
    ids=["deep tanh", "two classes, relu with L1", "tied topk without penalty"],
)
def test_stages_with_other_models_and_data(paths: Paths, changes: dict[str, Any]) -> None:
    write_params(paths.workspace, QUICK | changes)
    for stage in STAGES:
        assert main([stage]) == 0
    metrics = json.loads(paths.details.read_text())
    assert ("rho_target" in metrics["test"]) is ("penalty.kind" not in changes)
    saved = model_from_bytes(paths.model.read_bytes(), name="model")
    for name, value in changes.items():
        assert saved.description.parameters[name] == value
    if "topk.k" in changes:
        assert 0 < metrics["test"]["l0_at_0.1"] <= 4


@pytest.mark.slow
def test_stages_without_validation_images(paths: Paths) -> None:
    write_params(paths.workspace, QUICK | {"data.validation_fraction": 0, "training.keep": "last"})
    for stage in STAGES:
        assert main([stage]) == 0
    manifest = read_manifest(paths.splits)
    assert len(read_split(paths.splits, "train", manifest).labels) == 600
    assert len(read_split(paths.splits, "validation", manifest).labels) == 0

    rows = list(csv.DictReader(paths.history.open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert not [value for name, value in rows[0].items() if name.startswith("validation") and value]
    saved = model_from_bytes(paths.model.read_bytes(), name="model")
    assert saved.description.best_epoch == 2
    assert saved.description.best_loss == pytest.approx(float(rows[-1]["train_loss"]), rel=1e-6)
    assert "learning_curves.png" in {path.name for path in paths.figures.iterdir()}
    assert "Weights of epoch 2 of 2" in paths.report.read_text()

    (run,) = _runs(paths)
    assert run.info.status == "FINISHED"
    contexts = [
        tag.value
        for data_set in run.inputs.dataset_inputs
        for tag in data_set.tags
        if tag.key == "mlflow.data.context"
    ]
    assert sorted(contexts) == ["evaluation", "training"]
    assert not [
        name for name in run.data.metrics if name.startswith(("Curves/validation", "best/"))
    ]
    assert {"Curves/train_loss", "test/mse"} <= set(run.data.metrics)


def test_training_notes_the_running_mean_of_the_penalty(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("preprocess")
    # 540 images in a batch, and rho 0.01 of them.
    changes = {"training.batch_size": 5000, "penalty.rho": 0.01, "training.epochs": 1}
    write_params(paths.workspace, QUICK | changes)
    assert main(["train"]) == 0
    assert "images of a batch is 5.4" in capsys.readouterr().out
