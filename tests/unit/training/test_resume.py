"""An interrupted and resumed training ends like an uninterrupted one, bit for bit."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from helpers.fitting import changed
from rhobeta.data.samples import Samples
from rhobeta.training.checkpoints import CheckpointFile
from rhobeta.training.fit import Trained, fit

# 105 mini-batches, and so four chunks of at most 32: eleven states in three epochs.
SHORT_BATCHES = changed(training__batch_size=2, runtime__checkpoint_seconds=0)
STATES = 11

CASES = {
    # Its three epochs: beta rises, is adjusted, stays.
    "running mean and target, with noise": changed(
        SHORT_BATCHES, training__noise=0.3, penalty__target=0.2, penalty__warmup=0.4
    ),
    # So high a rate that a late epoch is not the best.
    "no penalty, best of all epochs": changed(
        SHORT_BATCHES,
        penalty__kind="none",
        training__learning_rate=0.3,
        training__schedule="constant",
    ),
    "topk with inactive units": changed(
        SHORT_BATCHES,
        model__code_activation="topk",
        model__unit_norm_decoder=True,
        penalty__kind="none",
        topk__k=2,
        topk__start=2,
        topk__anneal=0.5,
        topk__auxk_coef=0.5,
        training__learning_rate=0.1,
    ),
}


class CutOffError(Exception):
    """Stands for a process that is gone."""


class CutOff(pl.Callback):
    """Ends the training after its first new checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = self.content()

    def content(self) -> bytes:
        return self.path.read_bytes() if self.path.is_file() else b""

    def on_train_batch_start(self, *_: Any) -> None:
        if self.content() != self.before:
            raise CutOffError

    on_train_epoch_start = on_train_batch_start


def fingerprint(trained: Trained) -> tuple[Any, ...]:
    weights = {name: value.numpy().tobytes() for name, value in trained.model.state_dict().items()}
    return weights, trained.history_csv, trained.best_epoch, trained.best_metrics


def cut_off_after_every_chunk(path: Path, *inputs: Any, **more: Any) -> tuple[Trained, int]:
    """Resume from each checkpoint just to the next one, until training ends."""
    cuts = 0
    more["callbacks"] = more.get("callbacks", ())
    while True:
        callbacks = (CutOff(path), *more["callbacks"])
        try:
            return fit(*inputs, **more | {"callbacks": callbacks}, checkpoints=path), cuts
        except CutOffError:
            cuts += 1


@pytest.mark.parametrize("name", CASES)
def test_training_cut_off_after_every_chunk_ends_the_same(
    train: Samples, validation: Samples, name: str, tmp_path: Path
) -> None:
    whole = fit(CASES[name], train, validation)
    found, cuts = cut_off_after_every_chunk(tmp_path / "last", CASES[name], train, validation)
    assert cuts == STATES
    assert fingerprint(found) == fingerprint(whole)


def test_resume_without_validation_images_ends_the_same(train: Samples, tmp_path: Path) -> None:
    nothing = train.take(np.arange(0))
    params = changed(SHORT_BATCHES, training__keep="last")
    whole = fit(params, train, nothing)
    found, cuts = cut_off_after_every_chunk(tmp_path / "last", params, train, nothing)
    assert cuts == STATES
    assert fingerprint(found) == fingerprint(whole)


class Draws(pl.Callback):
    """Draws random numbers as an extension might, and notes them."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.drawn.append(torch.rand(()).item())


def test_resume_restores_the_random_state_of_extensions(
    train: Samples, validation: Samples, tmp_path: Path
) -> None:
    whole, parts = Draws(), Draws()
    fit(SHORT_BATCHES, train, validation, callbacks=(whole,))
    cut_off_after_every_chunk(
        tmp_path / "last", SHORT_BATCHES, train, validation, callbacks=(parts,)
    )
    assert parts.drawn == whole.drawn


def test_checkpoints_are_as_rare_as_asked_and_change_nothing(
    train: Samples, validation: Samples, tmp_path: Path
) -> None:
    rarely = changed(SHORT_BATCHES, runtime__checkpoint_seconds=3600)
    found = fit(rarely, train, validation, checkpoints=tmp_path / "last")
    assert list(tmp_path.iterdir()) == []
    assert fingerprint(found) == fingerprint(fit(SHORT_BATCHES, train, validation))


class Signalled(pl.Callback):
    """Sends this process a signal in the middle of the second epoch."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 1):
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "ending"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_ends_training_with_a_checkpoint(
    train: Samples,
    validation: Samples,
    tmp_path: Path,
    number: int,
    ending: type[BaseException],
) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    path = tmp_path / "last"
    rarely = changed(SHORT_BATCHES, runtime__checkpoint_seconds=3600)
    with pytest.raises(ending) as raised:
        fit(rarely, train, validation, callbacks=(Signalled(number),), checkpoints=path)
    if isinstance(raised.value, SystemExit):
        assert raised.value.code == 128 + number
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    # One epoch of 105 steps, and two chunks of 32.
    assert torch.load(path, weights_only=True)["rhobeta"]["steps_done"] == 105 + 64
    found = fit(rarely, train, validation, checkpoints=path)
    assert fingerprint(found) == fingerprint(fit(SHORT_BATCHES, train, validation))


@pytest.fixture
def file(tmp_path: Path) -> CheckpointFile:
    """A checkpoint file with a tensor in it."""
    file = CheckpointFile(tmp_path / "last")
    assert file.read() is None
    file.save_checkpoint({"values": torch.arange(100)}, file.path)
    return file


def test_a_flipped_bit_never_gives_another_checkpoint(
    file: CheckpointFile, capsys: pytest.CaptureFixture[str]
) -> None:
    content = file.path.read_bytes()
    notes = 0
    for place in range(0, len(content), 11):
        flipped = content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        file.path.write_bytes(flipped)
        found = file.read()
        # Some bits, such as a date's, are of no matter.
        assert found is None or found["values"].equal(torch.arange(100))
        notes += found is None
    assert capsys.readouterr().out.count("is damaged") == notes > 0


@pytest.mark.parametrize("length", [0, 10, 500])
def test_a_cut_checkpoint_is_ignored_with_a_note(
    file: CheckpointFile, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    file.path.write_bytes(file.path.read_bytes()[:length])
    assert file.read() is None
    assert "is damaged" in capsys.readouterr().out


class _Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path: Path, file: CheckpointFile) -> None:
    torch.save({"state_dict": _Touches(tmp_path / "ran")}, file.path)
    assert file.read() is None
    assert not (tmp_path / "ran").exists()
