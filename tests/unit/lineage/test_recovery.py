"""Where nothing is put back: no experiment, another workspace, an earlier content in doubt."""

import pytest

from helpers import git
from rhobeta.lineage.recovery import put_back_outputs, put_back_params
from rhobeta.paths import Paths


@pytest.fixture
def experiment(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A workspace as DVC prepares it, without the reflog that tells one experiment from another."""
    monkeypatch.setenv("DVC_EXP_NAME", "mine")
    monkeypatch.setenv("DVC_STAGE", "train")
    with paths.params.open("a") as file:
        file.write("# of the experiment\n")
    stash = git(paths.workspace, "stash", "create")
    git(paths.workspace, "update-ref", "refs/exps/exec/EXEC_HEAD", "HEAD")
    git(paths.workspace, "update-ref", "refs/exps/exec/EXEC_MERGE", stash)
    return paths


def test_params_stay_where_the_reflog_does_not_tell(experiment: Paths) -> None:
    before = experiment.params.read_bytes()
    assert not put_back_params(experiment)
    assert experiment.params.read_bytes() == before


def test_params_stay_outside_an_experiment(
    experiment: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_EXP_NAME")
    assert not put_back_params(experiment)


def test_outputs_of_git_come_back_alone_where_dvc_started_the_stage(
    experiment: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment.history.parent.mkdir(parents=True)
    experiment.history.write_text("epoch\n")
    git(experiment.workspace, "add", "--force", str(experiment.history))
    out = f"{{path: reports/plots/history.csv, md5: {'0' * 32}}}"
    lock = experiment.workspace / "dvc.lock"
    lock.write_text(f"stages:\n  train:\n    outs: [{out}]\n")
    experiment.history.unlink()
    put_back_outputs(experiment, "evaluate")
    monkeypatch.setenv("DVC_STAGE", "")
    put_back_outputs(experiment, "train")
    assert not experiment.history.exists()
    monkeypatch.setenv("DVC_STAGE", "train")
    put_back_outputs(experiment, "train")
    assert experiment.history.read_text() == "epoch\n"
