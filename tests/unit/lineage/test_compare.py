"""The command on a real store, with runs that are logged here by hand."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)

from helpers import OUTSIDE, REPOSITORY, git, make_project
from rhobeta.cli import main
from rhobeta.config.params import flatten, load_params, read_yaml
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.errors import RhobetaError
from rhobeta.lineage import project as lineage
from rhobeta.lineage.models import find_model, read_package
from rhobeta.lineage.runs import Runs
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_to_bytes
from rhobeta.paths import Paths
from rhobeta.tracking.package import PACKAGED_FILE
from rhobeta.tracking.store import Store, open_store, open_store_to_read
from rhobeta.tracking.tags import COMMIT_TAG, MODEL_MD5_TAG, MODEL_TAG
from rhobeta.utils.files import md5_of_bytes, sha256_of_bytes, sha256_of_file

HOSTILE = "<script>alert('x')</script> & more"
UNTRACKED = "untracked.safetensors"
EXPERIMENTS = f"refs/exps/ab/{'c' * 38}"
LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: python -m rhobeta.pipeline.train
    outs:
    - path: models/autoencoder.safetensors
      md5: {md5}
"""


def model_bytes(seed: int) -> bytes:
    architecture = Architecture(
        sample_shape=(4, 4),
        hidden_sizes=(5,),
        code_activation="sigmoid",
        hidden_activation="relu",
        output_activation="sigmoid",
    )
    parameters = {"penalty.kind": "kl", "penalty.rho": 0.5, "training.seed": seed}
    description = ModelDescription(architecture, parameters, "ab" * 32, 1, 0.5)
    return model_to_bytes(Autoencoder(architecture, seed=seed), description)


def commit_model(folder: Path, model: bytes) -> str:
    """Commit a dvc.lock that names a model, which no cache has."""
    md5 = md5_of_bytes(model)
    (folder / "dvc.lock").write_text(LOCK.format(md5=md5))
    git(folder, "add", "dvc.lock")
    git(folder, "commit", "--quiet", "--message=reproduced")
    return git(folder, "rev-parse", "HEAD")


@dataclass(frozen=True)
class Project:
    """A committed project, and the ids of its runs by what tells them apart."""

    paths: Paths
    runs: dict[str, str]
    commit: str


def log_run(
    store: Store,
    name: str,
    params: dict[str, str],
    metrics: dict[str, float],
    *,
    model: bytes | None = None,
    test: str = "t0",
    **tags: str,
) -> str:
    client = store.client
    all_tags = {"rhobeta.data_sha256": "d0", "rhobeta.stage": "train", **tags}
    if model is not None:
        all_tags |= {MODEL_TAG: sha256_of_bytes(model), MODEL_MD5_TAG: md5_of_bytes(model)}
    run = client.create_run(store.experiment_id, run_name=name, tags=all_tags).info.run_id
    client.log_batch(
        run,
        params=[Param(path, value) for path, value in params.items()],
        metrics=[Metric(key, value, 0, 0) for key, value in metrics.items()]
        + [Metric("Curves/train_mse", 1 / epoch, 0, epoch) for epoch in (1, 2, 3)],
        tags=[RunTag("note", "by hand")],
    )
    split = Dataset("own-test", test, "local", "test", profile="{}")
    inputs = [InputTag("mlflow.data.context", "evaluation"), InputTag("sha256", test)]
    client.log_inputs(run, datasets=[DatasetInput(split, inputs)])
    if model is not None:
        logged = client.create_logged_model(store.experiment_id, "model", source_run_id=run)
        file = Path(logged.artifact_location.removeprefix("file://")) / PACKAGED_FILE
        file.parent.mkdir(parents=True)
        file.write_bytes(model)
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run, [LoggedModelOutput(logged.model_id, 0)])
    client.set_terminated(run, "FINISHED")
    return run


def record_experiment(folder: Path, name: str, model: bytes) -> None:
    """An experiment as DVC keeps it: a commit that no branch has, and a model in the cache."""
    md5 = md5_of_bytes(model)
    cached = folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(model)
    (folder / "dvc.lock").write_text(LOCK.format(md5=md5))
    git(folder, "add", "dvc.lock")
    git(folder, "commit", "--quiet", "--message=experiment")
    git(folder, "update-ref", f"{EXPERIMENTS}/{name}", "HEAD")
    git(folder, "reset", "--quiet", "--hard", "HEAD^")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Runs of three seeds, one of another rho, one of a preset, one on other data, a trial."""
    folder = tmp_path_factory.mktemp("compare") / "project"
    make_project(folder)
    shutil.copytree(REPOSITORY / "presets", folder / "presets")
    commit = git(folder, "rev-parse", "HEAD")
    paths = Paths(workspace=folder, store_root=folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in OUTSIDE:
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        store = open_store(paths, "rhobeta")
        code = {"mlflow.source.git.commit": "c0ffee" + "0" * 34}
        here = {"mlflow.source.git.commit": commit}
        params = {path: str(value) for path, value in flatten(load_params(paths.params)).items()}
        runs = {
            f"seed {seed}": log_run(
                store,
                "rho=0.2",
                params | {"training.seed": str(seed)},
                {"test/mse": 0.01 * (seed + 1), "test/gini": 0.5},
                model=model_bytes(seed),
                **code,
            )
            for seed in range(3)
        }
        other = {"test/mse": 0.015, "test/gini": 0.5}
        rho = params | {"penalty.rho": "0.1"}
        runs["other"] = log_run(
            store, HOSTILE, rho, other, model=model_bytes(9), **here, **{"dvc.exp_name": "rho-01"}
        )
        preset = flatten(
            overlaid(read_yaml(paths.params), read_preset(paths.presets, "k-sparse"), name="it")
        )
        of_preset = {path: str(value) for path, value in preset.items()}
        runs["preset"] = log_run(store, "k=25", of_preset, other, model=model_bytes(10), **code)
        elsewhere = {"rhobeta.data_sha256": "d1"}
        runs["elsewhere"] = log_run(store, "far", rho, other, test="t1", **code | elsewhere)
        log_run(store, "rho=0.3 (trial 1)", rho, {}, **here, **{"rhobeta.stage": "trial"})
        record_experiment(folder, "cached", model_bytes(0))
        paths.model.parent.mkdir()
        paths.model.write_bytes(model_bytes(1))
        (folder / UNTRACKED).write_bytes(model_bytes(20))
        yield Project(paths, runs, commit)


@pytest.fixture(autouse=True)
def _inside(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.paths.workspace)
    project.paths.comparison.unlink(missing_ok=True)


def named(project: Project, word: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    # Beside a run that no word of these tests names.
    assert main(["compare", word, project.runs["elsewhere"], "--no-page"]) == 0
    legend = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    shown = {line.split()[1]: line for line in legend[:-1]}
    found = {name for name, run in project.runs.items() if run[:8] in shown}
    return found | ({"more"} if any("runs:" in line for line in legend) else set())


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("rho-01", {"other"}),
        (HOSTILE, {"other"}),
        ("rho=0.2", {"seed 2", "more"}),
        ("HEAD", {"other"}),
        ("workspace", {"seed 1"}),
        ("models/autoencoder.safetensors", {"seed 1"}),
        ("presets", {"preset"}),
        ("k-sparse", {"preset"}),
        ("cached", {"seed 0"}),
        (f"{EXPERIMENTS}/cached", {"seed 0"}),
    ],
)
def test_each_way_to_name_a_training(
    project: Project, word: str, names: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert named(project, word, capsys) == names


def test_a_commit_names_the_model_of_its_lock(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.paths.workspace
    before = git(folder, "rev-parse", "HEAD")
    first = commit_model(folder, model_bytes(9))
    # The next model was trained from the code of the first one's commit.
    store = open_store(project.paths, "rhobeta")
    started_from = store.client.get_run(project.runs["preset"]).data.tags[COMMIT_TAG]
    store.client.set_tag(project.runs["preset"], COMMIT_TAG, first)
    second = commit_model(folder, model_bytes(10))
    try:
        assert named(project, first, capsys) == {"other"}
        assert named(project, second, capsys) == {"preset"}
        assert main(["compare", first, second, "--no-page"]) == 0
    finally:
        git(folder, "reset", "--quiet", "--hard", before)
        store.client.set_tag(project.runs["preset"], COMMIT_TAG, started_from)


def test_what_was_evaluated_again_has_the_last_parameters(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(project.paths, "rhobeta")
    run = project.runs["seed 2"]
    store.client.set_tag(run, "evaluate.dead_threshold", "0.2")
    try:
        assert main(["compare", project.runs["seed 0"], run, "--no-page"]) == 0
        said = capsys.readouterr().out
    finally:
        store.client.delete_tag(run, "evaluate.dead_threshold")
    (line,) = [line for line in said.splitlines() if "evaluate.dead_threshold" in line]
    assert line.split()[-2:] == ["0.1", "0.2"]
    assert "±" not in said


def test_ids_and_commits_may_be_cut_down(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named(project, project.runs["other"][:12], capsys) == {"other"}
    # The trial of a search that was made there as well is left out.
    assert named(project, project.commit[:10], capsys) == {"other"}


def test_seeds_are_one_column_in_text_and_page(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    store = sha256_of_file(project.paths.store / "mlflow.db")
    assert main(["compare", "rho=0.2", "rho-01"]) == 0
    out = capsys.readouterr().out
    assert "[3 runs: training.seed 0, 1, 2]" in out
    assert re.search(r"^penalty\.rho +0\.2 +0\.1$", out, re.MULTILINE)
    # Mean 0.02, s 0.01, n 3: 4.3027 * 0.01 / sqrt 3 = 0.0248.
    assert re.search(r"^test/mse +0\.020 ± 0\.025 +0\.015\*$", out, re.MULTILINE)
    assert "test/gini" not in out
    assert max(map(len, out.splitlines()[:-1])) <= 100
    page = project.paths.comparison.read_text()
    assert "0.020 ± 0.025" in page
    assert "0.015 *" in page
    # Curves, and the filters of two models.
    assert re.findall(r'src="([^,]*),', page) == ["data:image/png;base64"] * 3
    assert "5 units; length" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"https?://|@import|url\(", page)
    assert str(project.paths.workspace) not in page
    # What is compared is read alone, and the same comparison is the same page.
    assert sha256_of_file(project.paths.store / "mlflow.db") == store
    assert main(["compare", "rho=0.2", "rho-01"]) == 0
    assert project.paths.comparison.read_text() == page


def test_what_has_no_run_or_no_model_is_said_so(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", UNTRACKED, "far"]) == 0
    out = capsys.readouterr().out
    assert "A: no run in the store, compared by the parameters in the model file alone." in out
    assert re.search(r"^penalty\.rho +0\.5 +0\.1$", out, re.MULTILINE)
    page = project.paths.comparison.read_text()
    assert page.count('alt="Decoder filters of') == 1
    assert "has no model: its training did not finish" in page


def test_numbers_of_other_test_images_are_not_judged(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", project.runs["seed 0"], "far", "--no-page"]) == 0
    out = capsys.readouterr().out
    assert "different test splits" in out
    assert "0.01*" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rho-02", "workspace"], "Nothing is known by the name 'rho-02'. Did you mean rho-01"),
        (["workspcae", "rho-01"], "Did you mean workspace"),
        (["rho-01"], "one training to compare"),
        (["workspace", "models/autoencoder.safetensors"], "the same training as workspace"),
        (["rho=0.2", "workspace"], "workspace names the same training as rho=0.2"),
        (["dvc.yaml", "rho-01"], "dvc.yaml is not a model"),
    ],
)
def test_what_cannot_be_compared_is_explained_and_writes_nothing(
    project: Project, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not project.paths.comparison.exists()


def test_a_run_whose_model_is_another_is_drawn_without_it(project: Project) -> None:
    runs = Runs(open_store_to_read(project.paths))
    run = runs.get(project.runs["other"])
    assert run is not None
    assert read_package(runs, run).content == model_bytes(9)
    other = dataclasses.replace(run, model_sha256="0" * 64)
    with pytest.raises(RhobetaError, match="is not the one that the run made"):
        read_package(runs, other)


@pytest.mark.parametrize(
    ("word", "seed"),
    [
        ("rho-01", 9),
        (HOSTILE, 9),
        ("rho=0.3 (trial 1)", 9),
        ("k-sparse", 10),
        ("c0ffee0000", None),
        (sha256_of_bytes(model_bytes(2))[:10], 2),
        ("cached", 0),
        (UNTRACKED, 20),
        ("rho=0.2", None),
        ("far", None),
    ],
)
def test_one_model_is_found_by_every_word(project: Project, word: str, seed: int | None) -> None:
    given = lineage.Project(load_params(project.paths.params), project.paths)
    if seed is None:
        with pytest.raises(RhobetaError, match=r"stands for|did not finish"):
            find_model(word, given)
    else:
        assert find_model(word, given).content == model_bytes(seed)


def test_runs_of_version_0_1_have_the_names_of_today(project: Project) -> None:
    store = open_store(project.paths, "old")
    run = log_run(store, "old", {"topk.revive": "0.03"}, {"floor/pca_mse": 0.1, "test/mse": 0.2})
    info = Runs(store).get(run)
    assert info is not None
    assert info.parameters == {"topk.auxk_coef": "0.03"}
    assert info.metrics == {"baselines/pca_mse": 0.1, "test/mse": 0.2, "Curves/train_mse": 1 / 3}
    store.client.delete_run(run)
    assert Runs(store).get(run) is None


def test_trace_takes_the_words_of_compare(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("presets", "workspace"):
        assert main(["trace", word]) == 0
    assert f"run         {project.runs['seed 1']}" in capsys.readouterr().out
    assert main(["trace", "rho=0.2"]) == 1
    said = capsys.readouterr().err
    assert "'rho=0.2' stands for 3 things" in said
    assert all(project.runs[f"seed {seed}"] in said for seed in range(3))


def test_compare_without_a_store_makes_none(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    assert main(["compare", "a-run", "another"]) == 1
    assert "There are no runs yet" in capsys.readouterr().err
    assert not (workspace / "mlruns").exists()
