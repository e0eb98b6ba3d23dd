"""An MLflow server that does not answer while a worker is between two trials.

In the midst of a trial `mlruns/pending` keeps what cannot be logged; without a run none can begin.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rhobeta.tracking.store import Store, StoreUnavailableError

_FIRST_SECONDS = 1.0
_MOST_SECONDS = 60.0


@contextmanager
def answering(store: Store) -> Iterator[None]:
    """Raise `StoreUnavailableError` if the body fails because the server does not answer."""
    with store.required():
        yield


class Outage:
    """A worker's waiting for the server, which it looks for in growing intervals."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pause = _FIRST_SECONDS
        self._next_look: float | None = None
        self._told: set[str] = set()

    def begin(self, error: StoreUnavailableError) -> None:
        """The server did not answer, and the trial was put back."""
        reason = str(error).splitlines()[0].rstrip(".")
        self._say("away", f"{reason}; the trial is back in the queue, and this worker waits")
        self._wait()

    def lasts(self) -> bool:
        """Whether to wait on; looks for the server when it is time."""
        if self._next_look is None:
            return False
        if time.monotonic() < self._next_look:
            return True
        if not self._store.answers():
            self._wait()
            return True
        self._next_look = None
        self._say("back", "the MLflow server answers again; this worker goes on")
        return False

    def over(self) -> None:
        """A trial has found the server: the next outage is another one."""
        self._pause = _FIRST_SECONDS
        self._told.clear()

    def _wait(self) -> None:
        self._next_look = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _MOST_SECONDS)

    def _say(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            print(f"note: {text}", flush=True)
