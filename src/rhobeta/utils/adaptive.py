"""A number of CPU threads that follows what other programs leave of the machine."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class AdaptiveThreads:
    """Finds the number of threads that is fastest while a training runs, by hill climbing.

    Threads wait for each other at the end of every operation. Where another program keeps one of
    two cores busy, two threads are ten times slower than one.

    Steps are timed in windows of at least `WINDOW` seconds. After some windows the next one tries
    half as many threads, or one more, in turn (a sixteenth of `most`, where that is more). The
    number that takes less time per image is kept. Where it is the new one, the next window tries
    the same direction again; where it is the old one, the wait until the next trial doubles, up to
    `LONGEST_WAIT` windows. A window that takes `SLOWER` times as long as the fastest so far of the
    same number of threads starts the next trial, downwards, at once.

    Results must not depend on the number of threads. `most` is the largest number; `set_threads`
    applies one (torch's by default); `clock` returns seconds.
    """

    WINDOW = 0.02
    LONGEST_WAIT = 256
    SLOWER = 1.5
    BETTER = 0.95
    """A new number of threads has to take at most this part of the old one's time."""

    def __init__(
        self,
        most: int,
        set_threads: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.threads = most
        """The present number."""
        self._most = most
        self._stride = max(1, most // 16)
        self._set, self._clock = set_threads or _set_torch_threads, clock
        self._started = clock()
        self._images = 0
        self._direction = -1
        self._from: tuple[int, float] | None = None
        """The number before the trial in progress, and its seconds an image."""
        self._fastest: dict[int, float] = {}
        self._wait = self._left = 1

    def resume(self) -> None:
        """Start a window: the time since the last step is not that of training."""
        self._started, self._images = self._clock(), 0

    def step(self, images: int) -> None:
        """Note that a step of so many images is done; may change the number of threads."""
        self._images += images
        seconds = self._clock() - self._started
        if seconds < self.WINDOW:
            return
        self._end_window(seconds / self._images)
        self.resume()

    def _end_window(self, per_image: float) -> None:
        now = self.threads
        fastest = self._fastest[now] = min(self._fastest.get(now, per_image), per_image)
        if self._from is not None:
            before, seconds = self._from
            self._from = None
            if per_image < self.BETTER * seconds:
                self._wait = 1
                self._try(self._direction, per_image)
                return
            self._use(before)
            # Slow as it is, the old number is the better one now.
            self._fastest[before] = seconds
            self._direction = -self._direction
            self._wait = min(2 * self._wait, self.LONGEST_WAIT)
            self._left = self._wait
            return
        self._left -= 1
        if per_image > self.SLOWER * fastest and now > 1:
            self._try(-1, per_image)
        elif self._left <= 0:
            self._try(self._direction, per_image)

    def _try(self, direction: int, per_image: float) -> None:
        """Use the next number in a direction, or the other one at an end, in the next window."""
        for way in (direction, -direction):
            more = min(self.threads + self._stride, self._most)
            other = more if way > 0 else max(self.threads // 2, 1)
            if other != self.threads:
                self._direction = way
                self._from = (self.threads, per_image)
                self._use(other)
                return

    def _use(self, threads: int) -> None:
        if threads != self.threads:
            self._set(threads)
            self.threads = threads


@contextmanager
def adaptive_threads() -> Iterator[AdaptiveThreads | None]:
    """Adapt torch's threads, from their present number downwards, and restore it afterwards.

    None where there is one thread only.
    """
    import torch

    most = torch.get_num_threads()
    try:
        yield AdaptiveThreads(most) if most > 1 else None
    finally:
        torch.set_num_threads(most)


def _set_torch_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
