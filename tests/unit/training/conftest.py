"""Fixtures of the tests of training: a few digits, and one thread."""

import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from rhobeta.data.samples import Samples


@pytest.fixture(scope="session")
def train(digits: Samples) -> Samples:
    """210 real digits."""
    return digits.take(np.arange(210))


@pytest.fixture(scope="session")
def validation(digits: Samples) -> Samples:
    """70 others."""
    return digits.take(np.arange(500, 570))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _interrupts_stay_as_they_are() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
