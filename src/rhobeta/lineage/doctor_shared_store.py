"""A store that several machines use: a server, or a database that is no file."""

import urllib.error
import urllib.request
from datetime import UTC, datetime

from rhobeta.errors import RhobetaError
from rhobeta.lineage.doctor_finding import Finding, fault, note, ok
from rhobeta.paths import Paths
from rhobeta.tracking.store import find_store, store_uri, without_password

_NAME = "MLflow store"
_SERVER_SECONDS = 3


def check_shared_store(paths: Paths) -> list[Finding]:
    """Whether the store answers, and which runs it has as RUNNING."""
    uri = store_uri(paths)
    if uri.startswith(("http://", "https://")):
        # In a moment, where MLflow's client would try for long.
        trouble = _trouble_of_server(without_password(uri))
        if trouble is not None:
            return [trouble]
    try:
        store = find_store(paths)
    except RhobetaError as error:
        found, _, advice = str(error).partition("\n")
        return [fault(_NAME, found, advice)]
    if store is None:
        return [ok(_NAME, f"{without_password(uri)}, empty; the first training makes its tables")]
    experiments = [e.experiment_id for e in store.client.search_experiments()]
    running = store.client.search_runs(
        experiments,
        filter_string="attributes.status = 'RUNNING'",
        order_by=["attributes.start_time ASC"],
    )
    answers = ok(_NAME, f"{without_password(uri)} answers")
    if not running:
        return [answers, ok("runs", "none is RUNNING")]
    oldest = running[0].info
    since = datetime.fromtimestamp(oldest.start_time / 1000, UTC).isoformat(timespec="seconds")
    return [
        answers,
        note(
            "runs",
            f"{len(running)} are RUNNING, the oldest {oldest.run_id} since {since}",
            "Whether a process works on it, its own machine knows. If none does, start the same"
            " training or search again, and it goes on; or end the run in the UI.",
        ),
    ]


def _trouble_of_server(place: str) -> Finding | None:
    try:
        with urllib.request.urlopen(f"{place.rstrip('/')}/health", timeout=_SERVER_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        return note(_NAME, f"{place} answers with status {error.code}", "See its log.")
    except (OSError, ValueError) as error:
        return fault(
            _NAME,
            f"{place} does not answer ({getattr(error, 'reason', error)})",
            "Start it, or unset MLFLOW_TRACKING_URI to record into mlruns/.",
        )
