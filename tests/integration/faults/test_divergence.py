"""Training that runs into NaN is an error that leaves nothing, and the next one is unharmed."""

import pytest

from helpers import QUICK, StartAfter, write_params
from helpers.injected import outputs, refused, runs_of, succeeds
from rhobeta.paths import Paths

DIVERGES = QUICK | {
    "penalty.kind": "kl_tutorial",
    "model.code_activation": "relu",
    "penalty.beta": 0,
    "training.learning_rate": 0.1,
}


@pytest.mark.slow
def test_after_a_nan_in_the_loss_better_parameters_give_what_they_always_give(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    expected = outputs(paths)
    paths.model.unlink()
    paths.history.unlink()
    before = outputs(paths)
    write_params(paths.workspace, DIVERGES)
    refused(capsys, "train", "diverged")
    assert outputs(paths) == before
    write_params(paths.workspace, QUICK)
    succeeds("train")
    assert outputs(paths) == expected
    runs = runs_of(paths)
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED", "FINISHED"]
    assert "diverged" in runs[1].data.tags["rhobeta.error"]
    assert "rhobeta.model_sha256" not in runs[1].data.tags
    digest = "rhobeta.model_sha256"
    assert runs[2].data.tags[digest] == runs[0].data.tags[digest]
