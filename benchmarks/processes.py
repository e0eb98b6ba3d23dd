"""Processes that measure in turns, each with the settings of its CPU libraries.

The libraries read them as they are loaded, so that one process can measure either the product,
whose results are the same on every CPU, or a plain PyTorch loop, which uses what the CPU has.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from rhobeta.utils.cpu import PORTABLE

Measure = Callable[..., list[float]]


class Process:
    """A process of its own, which calls functions one at a time and returns what they return."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def measures(self, function: Measure, *args: Any, **kwargs: Any) -> Callable[[], list[float]]:
        """What calls `function`, of a module's top level, in the process."""
        return lambda: self._pool.submit(function, *args, **kwargs).result()


@contextmanager
def product_and_plain() -> Iterator[tuple[Process, Process]]:
    """A process with the product's default settings, and one with the libraries' own."""
    context = multiprocessing.get_context("spawn")
    before = dict(os.environ)
    with ExitStack() as stack:
        found = []
        for settings in (PORTABLE, {}):
            for name in PORTABLE:
                os.environ.pop(name, None)
            os.environ.update(settings)
            pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
            # It starts with the first call.
            pool.submit(int).result()
            found.append(Process(pool))
        os.environ.clear()
        os.environ.update(before)
        yield found[0], found[1]
