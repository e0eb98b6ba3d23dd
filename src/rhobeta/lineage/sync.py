"""`rhobeta sync`: completes pending runs, and gives the workspace's model its run.

DVC may bring a model from its cache, another commit or a remote; no stage runs then, and nothing
is logged. What the run lacks is added from the files beside the model.
"""

from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError
from rhobeta.lineage.artifacts import find_artifacts
from rhobeta.paths import Paths
from rhobeta.tracking.backfill import backfill_run, missing_parts, restore_run
from rhobeta.tracking.pending import PendingRun, flush_pending, pending_runs
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import Run, newest_finished, runs_of_model
from rhobeta.tracking.store import Store, find_store, open_store, pending_folder, store_uri

_DIGITS_SHOWN = 12


def sync(params: Params, paths: Paths, *, quiet: bool = False) -> None:
    """Complete pending runs; find or restore the run of the workspace's model; add what it lacks.

    Prints one line about the model; `quiet` leaves it out if nothing was lacking. Raises
    `RhobetaError` if there is no model, a run stays incomplete, or the store cannot be used.
    """
    store = find_store(paths)
    failed = {} if store is None else _complete_pending(store)
    for run_id, reason in failed.items():
        print(f"run {run_id} stays incomplete ({reason})")
    if not paths.model.is_file():
        raise RhobetaError(
            f"There is no model in the workspace: {paths.model} is missing.\n"
            "`dvc repro` trains one; `dvc checkout` or `dvc pull` brings that of dvc.lock."
        )
    _sync_model(params, paths, quiet=quiet)
    _mention_other_stores(paths)
    if failed:
        raise RhobetaError(
            f"The store did not take what {len(failed)} runs in {pending_folder(paths)} lack.\n"
            "Check the store, then run `rhobeta sync` again."
        )


def _sync_model(params: Params, paths: Paths, *, quiet: bool) -> None:
    artifacts = find_artifacts(paths)
    sha256 = artifacts.saved.sha256
    name = f"model {sha256[:_DIGITS_SHOWN]}"
    for pending in pending_runs(pending_folder(paths)):
        if pending.model_sha256 == sha256:
            raise _still_pending(pending, paths)
    store = open_store(paths, params.runtime.experiment)
    found = runs_of_model(store, sha256)
    run = newest_finished(found, lambda run: run.info.status)
    if run is None:
        print(f"{name} had no run in the store; restored {restore_run(store, artifacts).run_id}")
        return
    run_id, others = run.info.run_id, len(found) - 1
    more = f"; {others} more claim it, `rhobeta trace` lists them" if others else ""
    missing = missing_parts(store, run, artifacts)
    if missing:
        backfill_run(Run(store, run_id, model_sha256=sha256), missing, artifacts)
        added = ", ".join(record.value for record in missing)
        print(f"{name}: added {added} to its run {run_id}{more}")
    elif not quiet:
        print(f"{name} has its run {run_id}{more}")


def _complete_pending(store: Store) -> dict[str, str]:
    """Why runs stay incomplete, by their ids."""
    flushed = flush_pending(store)
    for run_id in flushed.completed:
        print(f"completed run {run_id}, which the MLflow server had missed in part")
    return flushed.failed


def _still_pending(pending: PendingRun, paths: Paths) -> RhobetaError:
    here = without_password(store_uri(paths))
    elsewhere = "" if pending.is_for(here) else f", not {here}: set MLFLOW_TRACKING_URI to it"
    return RhobetaError(
        f"The run of this model is {pending.run_id}; a part of it is still in {pending.folder}, and"
        f" no other run was made.\nIt belongs to {pending.store}{elsewhere}. Run `rhobeta sync`"
        " once that server takes it."
    )


def _mention_other_stores(paths: Paths) -> None:
    here = store_uri(paths)
    runs = [run for run in pending_runs(pending_folder(paths)) if not run.is_for(here)]
    for place in sorted({run.store for run in runs}):
        count = sum(run.store == place for run in runs)
        print(
            f"note: {count} runs in {pending_folder(paths)} belong to another store; `rhobeta sync`"
            f" with MLFLOW_TRACKING_URI={place} completes them"
        )
