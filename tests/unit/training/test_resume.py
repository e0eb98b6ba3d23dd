"""A training that is cut off and goes on ends as one that was not, bit for bit."""

import io
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from helpers.fitting import PARAMS, changed
from rhobeta.data.labelled import LabelledImages
from rhobeta.training.fit import Trained, fit
from rhobeta.training.resume import Resumption, StateAsBytes, nothing_kept

# 105 mini-batches, and so four chunks of at most 32: eleven states in three epochs.
SHORT_BATCHES = changed(training__batch_size=2)
STATES = 11

CASES = {
    "running mean, with noise": changed(SHORT_BATCHES, training__noise=0.3),
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


def fingerprint(trained: Trained) -> tuple[Any, ...]:
    weights = {name: value.numpy().tobytes() for name, value in trained.model.state_dict().items()}
    return weights, trained.history_csv, trained.best_epoch, trained.best_metrics


def cut_off_after_every_chunk(train: Callable[[Resumption], Trained]) -> tuple[Trained, int]:
    """Go on from each state just to the next one, until training ends."""
    states: list[bytes | None] = [None]

    def keep_and_end(state: bytes) -> None:
        states.append(state)
        raise CutOffError

    while True:
        try:
            return train(Resumption(states[-1], keep_and_end, 0)), len(states) - 1
        except CutOffError:
            continue


@pytest.mark.parametrize("name", CASES)
def test_a_training_cut_off_after_every_chunk_ends_the_same(
    train: LabelledImages, validation: LabelledImages, name: str
) -> None:
    whole = fit(CASES[name], train, validation)
    found, cuts = cut_off_after_every_chunk(
        lambda resumption: fit(CASES[name], train, validation, checkpoints=resumption)
    )
    assert cuts == STATES
    assert fingerprint(found) == fingerprint(whole)


def test_without_validation_images_it_ends_the_same(train: LabelledImages) -> None:
    nothing = train.take(np.arange(0))
    params = changed(SHORT_BATCHES, training__keep="last")
    whole = fit(params, train, nothing)
    found, cuts = cut_off_after_every_chunk(
        lambda resumption: fit(params, train, nothing, checkpoints=resumption)
    )
    assert cuts == STATES
    assert fingerprint(found) == fingerprint(whole)


class Draws(pl.Callback):
    """Draws random numbers as an extension might, and notes them."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.drawn.append(torch.rand(()).item())


def test_random_numbers_of_extensions_go_on_too(
    train: LabelledImages, validation: LabelledImages
) -> None:
    whole, parts = Draws(), Draws()
    fit(SHORT_BATCHES, train, validation, callbacks=(whole,))
    cut_off_after_every_chunk(
        lambda resumption: fit(
            SHORT_BATCHES,
            train,
            validation,
            callbacks=(parts,),
            checkpoints=resumption,
        )
    )
    assert parts.drawn == whole.drawn


def test_states_are_kept_only_as_often_as_asked(
    train: LabelledImages, validation: LabelledImages
) -> None:
    kept: list[bytes] = []
    fit(
        SHORT_BATCHES,
        train,
        validation,
        checkpoints=Resumption(None, kept.append, 3600),
    )
    assert kept == []


def test_keeping_states_changes_nothing(train: LabelledImages, validation: LabelledImages) -> None:
    assert fingerprint(fit(PARAMS, train, validation, checkpoints=nothing_kept(0))) == fingerprint(
        fit(PARAMS, train, validation)
    )


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
def test_a_signal_ends_training_after_its_chunk_with_the_state_kept(
    train: LabelledImages,
    validation: LabelledImages,
    number: int,
    ending: type[BaseException],
) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    kept: list[bytes] = []
    with pytest.raises(ending) as raised:
        fit(
            SHORT_BATCHES,
            train,
            validation,
            callbacks=(Signalled(number),),
            checkpoints=Resumption(None, kept.append, 3600),
        )
    if isinstance(raised.value, SystemExit):
        assert raised.value.code == 128 + number
    else:
        # Lightning leaves Ctrl-C without effect.
        signal.signal(signal.SIGINT, handlers[0])
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    (state,) = kept
    # One epoch of 105 steps, and two chunks of 32.
    assert torch.load(io.BytesIO(state), weights_only=True)["rhobeta"]["steps_done"] == 105 + 64
    found = fit(
        SHORT_BATCHES,
        train,
        validation,
        checkpoints=Resumption(state, kept.append, 3600),
    )
    whole = fit(SHORT_BATCHES, train, validation)
    assert fingerprint(found) == fingerprint(whole)


class _Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("pack", [pickle.dumps, None], ids=["pickle", "torch"])
def test_a_state_runs_no_code(tmp_path: Path, pack: Callable[[Any], bytes] | None) -> None:
    payload = {"state_dict": _Touches(tmp_path / "ran")}
    if pack is None:
        file = io.BytesIO()
        torch.save(payload, file)
        state = file.getvalue()
    else:
        state = pack(payload)
    with pytest.raises(pickle.UnpicklingError):
        StateAsBytes(Resumption(state, lambda _: None, 0)).load_checkpoint("state")
    assert not (tmp_path / "ran").exists()
