"""What could not be logged while the MLflow server was away: kept on disk, delivered in order.

One folder a run, `mlruns/outbox/<run id>/`. An action is removed once the server has taken it, and
can be taken twice to the same effect.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rhobeta.paths import Paths
from rhobeta.tracking import queued
from rhobeta.tracking.actions import Action, perform
from rhobeta.tracking.away import for_a_moment, is_away
from rhobeta.tracking.store import Store, without_password

_RETRY_SECONDS = 10.0
# Of the time of a training, what may be lost on a server that takes long to not answer.
_RETRY_SHARE = 20


@dataclass(frozen=True)
class Waiting:
    """A run for which something waits."""

    run_id: str
    folder: Path
    actions: int
    store: str
    """The address of the server it belongs to, without credentials."""
    experiment_id: str
    model_sha256: str | None
    """The model that the run made, where it is known."""

    def is_for(self, uri: str) -> bool:
        """Whether it waits for the store at this address."""
        return self.store.rstrip("/") == without_password(uri).rstrip("/")


@dataclass(frozen=True)
class Delivery:
    """What came of a delivery."""

    delivered: int
    left: int
    """Actions that still wait, for this store."""
    reason: str | None
    """Why the first of them was not taken; None where nothing is left, or another delivers it."""
    away: bool = False
    """Whether that was because the server is away, and not a refusal."""


class Courier:
    """Does what is done to one run: at once, or through the outbox while the server is away."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.model_sha256: str | None = None
        self._store = store
        self._run_id = run_id
        self._folder = None if store.outbox is None else store.outbox / run_id
        self._said = store.away
        self._next_try = time.monotonic() + _RETRY_SECONDS if store.away else 0.0

    def do(self, action: Action) -> None:
        """Do it now; where the server is away, or something waits already, keep it for later.

        The first failure is said. While something waits, delivery is tried at most every ten
        seconds, and so seldom that it costs a training at most a twentieth of its time.
        """
        if self._folder is None:
            perform(self._store, self._run_id, action)
            return
        if not queued.names(self._folder):
            try:
                perform(self._store, self._run_id, action)
            except Exception as error:
                if not is_away(error):
                    raise
                self._say_away(error)
                self._next_try = time.monotonic() + _RETRY_SECONDS
            else:
                self._said = False
                return
        self._keep(action)
        if time.monotonic() >= self._next_try:
            self._try_again()

    def kept(self) -> Iterator[Action]:
        """What waits, in order."""
        if self._folder is not None:
            yield from (queued.read(self._folder / name) for name in queued.names(self._folder))

    def settle(self) -> None:
        """Try once more to deliver what waits, and say what is left and how it will get there."""
        if self._folder is None or not queued.names(self._folder):
            return
        delivery = self._deliver(self._folder)
        if delivery.left:
            why = f" ({delivery.reason})" if delivery.reason else ""
            print(
                f"note: {delivery.left} records of MLflow run {self._run_id} wait in"
                f" {self._folder}{why}; the next stage or `rhobeta sync` delivers them once the"
                " server answers",
                flush=True,
            )

    def _keep(self, action: Action) -> None:
        assert self._folder is not None  # noqa: S101
        origin = {
            "store": without_password(self._store.uri),
            "experiment_id": self._store.experiment_id,
            "model_sha256": self.model_sha256,
        }
        queued.put(self._folder, action, origin)

    def _try_again(self) -> None:
        assert self._folder is not None  # noqa: S101
        began = time.monotonic()
        self._deliver(self._folder)
        now = time.monotonic()
        self._next_try = now + max(_RETRY_SECONDS, _RETRY_SHARE * (now - began))

    def _deliver(self, folder: Path) -> Delivery:
        try:
            # Whether anybody is there at all: the calls themselves are given more time.
            with for_a_moment():
                self._store.client.get_run(self._run_id)
        except Exception as error:
            return Delivery(0, len(queued.names(folder)), reason_of(error), is_away(error))
        delivery = _deliver_run(self._store, folder)
        if not delivery.left:
            print(
                f"note: the MLflow server answers again; {delivery.delivered} records that had"
                " waited are delivered",
                flush=True,
            )
            self._said = False
        return delivery

    def _say_away(self, error: Exception) -> None:
        if not self._said:
            print(
                f"note: the MLflow server {without_password(self._store.uri)} does not answer"
                f" ({reason_of(error)}); the work goes on, and what cannot be logged is kept in"
                f" {self._store.outbox}",
                flush=True,
            )
        self._said = True


def deliver(store: Store, paths: Paths) -> Delivery:
    """Deliver all that waits for this store, run by run; what fails stays, and so do those after.

    Says nothing. What belongs to another store is left alone.
    """
    return deliver_from(store, outbox_of(paths))


def deliver_from(store: Store, outbox: Path) -> Delivery:
    """As `deliver`, from the folder of an outbox."""
    delivered, left, reason, away = 0, 0, None, False
    for waiting in waiting_runs(outbox):
        if not waiting.is_for(store.uri):
            continue
        if away:
            left += waiting.actions
            continue
        part = _deliver_run(store, waiting.folder)
        delivered, left = delivered + part.delivered, left + part.left
        reason, away = reason or part.reason, part.away
    return Delivery(delivered, left, reason, away)


def outbox_of(paths: Paths) -> Path:
    """Where runs wait that belong to the store of these paths."""
    return paths.store / "outbox"


def waiting_runs(outbox: Path) -> list[Waiting]:
    """The runs for which something waits, whatever store they belong to, by their ids."""
    found = []
    for folder in sorted(outbox.glob("*")) if outbox.is_dir() else []:
        names = queued.names(folder)
        if not names:
            continue
        # The newest knows most: the model is known only when training has ended.
        try:
            origin = queued.content_of(folder / names[-1])["origin"]
        except FileNotFoundError:  # Delivered in this moment.
            continue
        found.append(Waiting(folder.name, folder, len(names), **origin))
    return found


def run_waiting_for_model(outbox: Path, uri: str, model_sha256: str) -> Waiting | None:
    """The run of this store that made the model, if something waits for it."""
    for waiting in waiting_runs(outbox):
        if waiting.model_sha256 == model_sha256 and waiting.is_for(uri):
            return waiting
    return None


def reason_of(error: BaseException) -> str:
    """In a few words why a server did not answer or did not take something, without secrets."""
    text = " ".join(without_password(str(error)).partition("[SQL:")[0].split())
    known = r"Connection refused|timed out|Connection reset|Name or service not known|No route to"
    known += r" host|Remote end closed connection|too many 5\d\d error responses"
    found = re.search(known, text)
    return found[0] if found else text[:200]


def _deliver_run(store: Store, folder: Path) -> Delivery:
    delivered, reason, away = 0, None, False
    with queued.held(folder) as held:
        if held:
            for name in queued.names(folder):
                try:
                    perform(store, folder.name, queued.read(folder / name), again=True)
                except Exception as error:
                    reason, away = reason_of(error), is_away(error)
                    break
                queued.remove(folder / name)
                delivered += 1
            queued.tidy(folder)
    return Delivery(delivered, len(queued.names(folder)), reason, away)
