"""A training whose number of threads changes gives what one thread gives, bit for bit."""

from contextlib import contextmanager
from itertools import cycle

import pytest
import torch

from helpers.fitting import fitted
from rhobeta import SparseAutoencoder
from rhobeta.data.samples import Samples
from rhobeta.utils import adaptive


class Switching(adaptive.AdaptiveThreads):
    """Another number of threads after every mini-batch."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.numbers = cycle((2, 1, 4))
        self.switches = 0

    def step(self, images: int) -> None:
        torch.set_num_threads(next(self.numbers))
        self.switches += 1


@pytest.fixture
def switching(monkeypatch: pytest.MonkeyPatch) -> list[Switching]:
    """Trainings switch; those that were made."""
    made: list[Switching] = []

    def make(most: int) -> Switching:
        made.append(Switching(most))
        return made[-1]

    monkeypatch.setattr(adaptive, "AdaptiveThreads", make)
    return made


@contextmanager
def number_of_threads(number: int):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    assert torch.get_num_threads() == number
    torch.set_num_threads(before)


def test_switching_in_mid_epoch_changes_no_bit(digits: Samples, switching: list[Switching]) -> None:
    alone = fitted(digits, digits, training__batch_size=128)
    assert not switching
    with number_of_threads(4):
        switched = fitted(digits, digits, training__batch_size=128)
    assert switching[0].switches > 10
    assert switched.history_csv == alone.history_csv
    assert switched.best_metrics == alone.best_metrics
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(switched.model.state_dict()[name], weight), name


def test_estimator_switches_too_and_restores(digits: Samples, switching: list[Switching]) -> None:
    rows = digits.values.reshape(len(digits), -1) / 255
    model = SparseAutoencoder(n_components=32, max_iter=2, random_state=0)
    alone = model.fit(rows).components_.copy()
    with number_of_threads(2):
        switched = model.fit(rows).components_
    assert switching
    assert (switched == alone).all()
