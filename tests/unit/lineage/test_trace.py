"""Finding ends, following links, and saying what is missing, in a project with one run."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, StartAfter, git
from rhobeta.cli import main
from rhobeta.lineage import lineage, runs
from rhobeta.lineage.repository import MODEL, Lock
from rhobeta.paths import Paths
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import Store, open_store
from rhobeta.tracking.tags import COMMIT_TAG, EVALUATION_TAG, MODEL_MD5_TAG, MODEL_TAG, STAGE_TAG
from rhobeta.utils.files import md5_of_bytes, sha256_of_file

Told = Callable[[str], dict[str, Any]]


@pytest.fixture
def trained(start_after: StartAfter, paths: Paths) -> Paths:
    start_after("visualize")
    return paths


@pytest.fixture
def store(trained: Paths) -> Store:
    return open_store(trained, "rhobeta")


@pytest.fixture
def told(trained: Paths, capsys: pytest.CaptureFixture[str]) -> Told:
    def ask(what: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["trace", "--json", *what.split()]) == 0
        story: dict[str, Any] = json.loads(capsys.readouterr().out)
        return story

    return ask


def _run(store: Store) -> Any:
    (run,) = store.client.search_runs([store.experiment_id])
    return run


def _commit_lock(
    paths: Paths, md5: str, subject: str = "reproduced", *, evaluated: bool = False
) -> str:
    model = [{"path": MODEL, "hash": "md5", "md5": md5, "size": 1}]
    stages: dict[str, Any] = {"train": {"cmd": "rhobeta train", "outs": model}}
    if evaluated:
        stages["evaluate"] = {"cmd": "rhobeta evaluate", "deps": [dict(model[0])]}
    lock = {"schema": "2.0", "stages": stages}
    yaml = YAML()
    yaml.default_flow_style = False
    with (paths.workspace / "dvc.lock").open("w") as file:
        yaml.dump(lock, file)
    git(paths.workspace, "add", "dvc.lock")
    git(paths.workspace, "commit", "--quiet", f"--message={subject}")
    return git(paths.workspace, "rev-parse", "HEAD")


def _cache(paths: Paths, content: bytes) -> None:
    md5 = md5_of_bytes(content)
    (paths.workspace / ".dvc").mkdir(exist_ok=True)
    (paths.workspace / ".dvc" / "config").touch()
    place = paths.workspace / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def test_file_digest_run_and_commit_have_one_lineage(
    trained: Paths, store: Store, told: Told
) -> None:
    content = trained.model.read_bytes()
    commit, run = _commit_lock(trained, md5_of_bytes(content)), _run(store)
    sha256 = sha256_of_file(trained.model)
    ends = {
        str(trained.model): "model file",
        sha256: "model",
        sha256[:10]: "model",
        run.info.run_id: "run",
        run.info.run_id[:6]: "run",
        run.info.run_name: "run",
        commit: "commit",
        "HEAD": "commit",
        commit[:7]: "commit",
        "main": "commit",
    }
    for end, kind in ends.items():
        story = told(end)
        assert story["asked"]["kind"] == kind
        assert story["model"]["sha256"] == sha256
        assert story["model"]["md5"] == md5_of_bytes(content)
        assert [record["id"] for record in story["runs"]] == [run.info.run_id]
        assert story["commits"] == [{"id": commit, "subject": "reproduced"}]
        assert story["code"]["commit"] == git(trained.workspace, "rev-parse", "HEAD~1")
        assert story["parameters"]["penalty.rho"] == "0.2"
        assert story["data"]["counts"] == {"train": 540, "validation": 60, "test": 200}
        assert len(story["data"]["raw_files"]) == 4
        assert story["metrics"]["test/mse"] == run.data.metrics["test/mse"]
        assert story["missing"] == []


def test_the_text_names_each_link_and_what_is_missing(
    trained: Paths, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", str(trained.model)]) == 0
    text = capsys.readouterr().out
    for part in (sha256_of_file(trained.model), _run(store).info.run_id, "penalty.rho = 0.2"):
        assert part in text
    assert "no dvc.lock in git names it" in text
    assert "more: --all" in text
    assert "training.precision" not in text
    assert main(["trace", "--all", str(trained.model)]) == 0
    assert "training.precision = float32" in capsys.readouterr().out


def test_the_name_of_a_run_stays_on_its_line(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "mine\nmissing     nothing\x1b[2J"
    store.client.set_tag(_run(store).info.run_id, "mlflow.runName", name)
    assert main(["trace", "workspace"]) == 0
    printed = capsys.readouterr().out
    assert r"mine\nmissing     nothing" in printed
    assert "\x1b" not in printed
    # A name that is not text, which no store holds.
    assert main(["trace", "mine\udcff"]) == 1
    assert "Nothing is known by the name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "near"),
    [("mian", "main"), ("models/autoencoder.safetensor", MODEL), ("rho=0.2 beta=0.00765", "rho=")],
)
def test_an_unknown_name_is_explained_and_the_nearest_offered(
    trained: Paths, asked: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", asked]) == 1
    said = capsys.readouterr().err
    assert f"Did you mean {near}" in said
    for kind in ("model file", "MLflow run", "DVC experiment", "git commit", "trial", "study"):
        assert kind in said


def test_a_file_that_is_no_model_is_refused(
    trained: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", "params.yaml"]) == 1
    assert "is not a model of rhobeta" in capsys.readouterr().err


def test_where_there_is_no_store_none_is_made(trained: Paths, told: Told) -> None:
    shutil.rmtree(trained.store)
    story = told(str(trained.model))
    assert story["runs"] == []
    assert "an MLflow store" in story["missing"][0]["link"]
    assert "rhobeta sync" in story["missing"][0]["remedy"]
    assert main(["trace", "nothing-known"]) == 1
    assert not trained.store.exists()


def test_a_model_that_is_nowhere_is_found_by_its_md5(
    trained: Paths, store: Store, told: Told
) -> None:
    content, run = trained.model.read_bytes(), _run(store).info.run_id
    _commit_lock(trained, md5_of_bytes(content))
    trained.model.unlink()
    story = told("HEAD")
    assert [record["id"] for record in story["runs"]] == [run]
    assert "dvc pull" in story["missing"][0]["remedy"]

    # A run from before runs carried it: only the cache leads on.
    store.client.delete_tag(run, MODEL_MD5_TAG)
    story = told("HEAD")
    assert story["runs"] == []
    assert md5_of_bytes(content) in story["missing"][0]["link"]
    _cache(trained, content)
    assert [record["id"] for record in told("HEAD")["runs"]] == [run]

    # Damaged in the cache, it is no evidence.
    _cache(trained, content)
    md5 = md5_of_bytes(content)
    place = trained.workspace / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    place.write_bytes(content[:-1])
    assert told("HEAD")["model"]["sha256"] is None


def test_a_commit_without_a_lock_leads_to_the_runs_of_its_code(
    trained: Paths, store: Store, told: Told
) -> None:
    story = told("HEAD")
    assert [record["id"] for record in story["runs"]] == [_run(store).info.run_id]
    assert "names no model" in story["missing"][0]["link"]


def test_a_search_at_the_same_commit_hides_no_training(
    trained: Paths, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, run = git(trained.workspace, "rev-parse", "HEAD"), _run(store).info.run_id
    for _ in range(3):
        store.client.create_run(store.experiment_id, tags={COMMIT_TAG: head, STAGE_TAG: "trial"})
    monkeypatch.setattr(runs, "_MOST", 2)
    assert [record["id"] for record in told("HEAD")["runs"]] == [run]


def test_a_commit_has_the_metrics_of_its_own_evaluation(
    trained: Paths, store: Store, told: Told
) -> None:
    md5 = md5_of_bytes(trained.model.read_bytes())
    (trained.workspace / ".gitignore").write_text("mlruns/\nmodels/\ndata/\n")
    git(trained.workspace, "add", "reports/details.json", ".gitignore")
    commit = _commit_lock(trained, md5, evaluated=True)
    mine = told("HEAD")["metrics"]["test/mse"]
    assert mine == _run(store).data.metrics["test/mse"]
    # The same model was evaluated again since, in other ways.
    run = Run(store, _run(store).info.run_id)
    run.log_metrics({"test/mse": 0.5})
    run.set_tags({EVALUATION_TAG: "e" * 64})
    assert told(commit)["metrics"]["test/mse"] == mine
    assert told(str(trained.model))["metrics"]["test/mse"] == 0.5


def test_metrics_of_a_commit_of_version_0_1_have_todays_names() -> None:
    old = {"reconstruction": {"mse": 0.1}, "floors": {"pca_mse": 0.2}, "beats": {"pca": True}}
    old["denoising"] = {"code@0.1": 20}
    assert lineage._metrics_in(json.dumps(old).encode()) == {
        "test/mse": 0.1, "baselines/pca_mse": 0.2, "denoising/code_at_0.1": 20
    }  # fmt: skip
    assert lineage._metrics_in(b"[1]") == {}


def test_several_runs_of_one_model_are_listed_newest_first(
    trained: Paths, store: Store, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _run(store)
    copied = {MODEL_TAG: first.data.tags[MODEL_TAG], "rhobeta.stage": "restored"}
    copied["rhobeta.restored"] = "true"
    second = store.client.create_run(store.experiment_id, run_name="again", tags=copied)
    story = told(str(trained.model))
    assert [r["id"] for r in story["runs"]] == [second.info.run_id, first.info.run_id]
    assert [r["restored"] for r in story["runs"]] == [True, False]
    assert "2 runs claim this model" in story["notes"][0]
    assert main(["sync"]) == 0
    assert "1 more claim it" in capsys.readouterr().out


def test_a_name_of_several_things_is_refused_with_their_names(
    trained: Paths, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        store.client.create_run(store.experiment_id, run_name="twin", tags={MODEL_TAG: digit * 64})
        for digit in "ab"
    ]
    assert main(["trace", "twin"]) == 1
    said = capsys.readouterr().err
    assert all(run.info.run_id in said for run in runs)
    # Of one model they are one story.
    store.client.set_tag(runs[0].info.run_id, MODEL_TAG, "b" * 64)
    assert main(["trace", "twin"]) == 0


def test_an_experiment_that_git_lost_is_known_by_its_runs(
    trained: Paths, store: Store, told: Told
) -> None:
    store.client.set_tag(_run(store).info.run_id, "dvc.exp_name", "gone-exp")
    story = told("gone-exp")
    assert story["asked"]["kind"] == "experiment"
    assert story["model"]["sha256"] == sha256_of_file(trained.model)


@pytest.mark.parametrize("version", ["f" * 12, "451aebb31d03"])
def test_a_database_of_another_version_is_left_alone(
    trained: Paths, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database = trained.store / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
        connection.commit()
    before = database.read_bytes()
    assert main(["trace", "HEAD"]) == 1
    assert "cannot be used" in capsys.readouterr().err
    assert database.read_bytes() == before


def test_a_lock_is_read_in_parts_as_it_is_read_whole() -> None:
    text = (REPOSITORY / "dvc.lock").read_text()
    lock, whole = Lock(text.encode()), YAML(typ="safe").load(text)["stages"]
    for stage, content in whole.items():
        for entry in content["outs"]:
            assert lock.written(stage, entry["path"]) == entry["md5"]
        for entry in content["deps"]:
            assert lock.read(stage, entry["path"]) == entry["md5"]
        sections = content.get("params", {}).get("params.yaml", {})
        flat = {
            name if part is None else f"{name}.{part}": value
            for name, values in sections.items()
            for part, value in (values.items() if isinstance(values, dict) else [(None, values)])
        }
        assert lock.parameters(stage) == flat
    assert lock.written("train", "nowhere") is None
    assert Lock(b"").model is None
    assert Lock(b"stages:\n  train:\n    outs:\n    - [\n").model is None
