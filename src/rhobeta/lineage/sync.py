"""`rhobeta sync`: what waits for the server is delivered; the workspace's model gets its run.

DVC may bring a model from its cache, another commit or a remote; no stage runs then, and nothing
is logged. What the run lacks is added from the files beside the model, of which only those are
taken that belong to it.
"""

from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError
from rhobeta.lineage.artifacts import Belongings, belongings_of
from rhobeta.lineage.gaps import Gap, gaps_of
from rhobeta.lineage.resolve import ModelFile, read_model_file
from rhobeta.lineage.runs import RunInfo, Runs
from rhobeta.paths import Paths
from rhobeta.tracking.outbox import Delivery, deliver, outbox_of, waiting_runs
from rhobeta.tracking.store import Store, find_store, open_store, store_uri, without_password

_DIGITS_SHOWN = 12


def sync(params: Params, paths: Paths, *, quiet: bool = False) -> None:
    """Deliver what waited; find or restore the run of the workspace's model; add what it lacks.

    Prints one line of the model; `quiet` leaves it out where nothing was lacking. Raises
    `RhobetaError` where there is no model, its run cannot be told, what waits was not taken, or the
    store cannot be used.
    """
    store_there = find_store(paths)
    delivery = Delivery(0, 0, None) if store_there is None else _deliver(store_there, paths)
    if not paths.model.is_file():
        raise RhobetaError(
            f"There is no model in the workspace: {paths.model} is missing.\n"
            "`dvc repro` trains one; `dvc checkout` or `dvc pull` brings that of dvc.lock."
        )
    model = read_model_file(paths.model)
    _require_none_waiting(model, paths)
    _sync_model(model, store_there, params, paths, quiet=quiet)
    _tell_of_other_stores(paths)
    if delivery.left and delivery.reason:
        raise RhobetaError(
            f"{delivery.left} records still wait in {outbox_of(paths)}: the store did not take them"
            f" ({delivery.reason}).\nSee to the store, then run `rhobeta sync` again."
        )


def _sync_model(
    model: ModelFile, store_there: Store | None, params: Params, paths: Paths, *, quiet: bool
) -> None:
    name = f"model {model.sha256[:_DIGITS_SHOWN]}"
    belongings, records = belongings_of(model, paths), Runs(store_there)
    found = records.of_model(model.sha256)
    record, gaps = _fullest(found, records, belongings)
    if record is not None and not gaps:
        if not quiet:
            print(f"{name} has its run {record.id}{_other_claims(found)}")
        return
    from rhobeta.lineage.restore import make_whole

    store = open_store(paths, params.runtime.experiment)
    run_id = make_whole(store, record, belongings, paths)
    if record is None:
        print(f"{name} had no run in the store; restored {run_id}")
    else:
        added = ", ".join(gap.value for gap in gaps)
        print(f"{name}: added {added} to its run {run_id}{_other_claims(found)}")


def _fullest(
    found: list[RunInfo], records: Runs, belongings: Belongings
) -> tuple[RunInfo | None, list[Gap]]:
    """The run that lacks nothing, or else the one that is to be completed; and what it lacks.

    A training that came to its end goes before others, and the newest before older ones. Where
    several trainings made the model and all lack something, none is chosen for the user.
    """
    trained = [run for run in found if run.status == "FINISHED" and not run.restored]
    candidates = trained or found
    gaps = {run.id: gaps_of(run, records, belongings) for run in candidates}
    whole = next((run for run in candidates if not gaps[run.id]), None)
    if whole is None and len(trained) > 1:
        listed = "".join(
            f"\n  {run.id} of {run.started}, which lacks"
            f" {', '.join(gap.value for gap in gaps[run.id])}"
            for run in trained
        )
        raise RhobetaError(
            f"{len(trained)} runs claim this model, and none has all that the workspace holds of"
            f" it:{listed}\nNothing was changed. Leave the one that is to be completed, and delete"
            " the others in the UI, or by `mlflow runs delete --run-id RUN`."
        )
    chosen = whole or next(iter(candidates), None)
    return chosen, [] if chosen is None else gaps[chosen.id]


def _deliver(store: Store, paths: Paths) -> Delivery:
    delivery = deliver(store, paths)
    if delivery.delivered:
        print(f"delivered {delivery.delivered} records that had waited for the MLflow server")
    return delivery


def _require_none_waiting(model: ModelFile, paths: Paths) -> None:
    """The model's run may be one of which the store does not know the model yet."""
    here = without_password(store_uri(paths))
    for waiting in waiting_runs(outbox_of(paths)):
        if waiting.model_sha256 != model.sha256:
            continue
        elsewhere = "" if waiting.is_for(here) else f", not {here}: set MLFLOW_TRACKING_URI to it"
        raise RhobetaError(
            f"The run of this model is {waiting.run_id}, of which {waiting.actions} records still"
            f" wait in {waiting.folder}; no other was made.\nThey are for {waiting.store}"
            f"{elsewhere}. Run `rhobeta sync` once it takes them."
        )


def _tell_of_other_stores(paths: Paths) -> None:
    here = store_uri(paths)
    others: dict[str, int] = {}
    for waiting in waiting_runs(outbox_of(paths)):
        if not waiting.is_for(here):
            others[waiting.store] = others.get(waiting.store, 0) + waiting.actions
    for place, count in others.items():
        print(
            f"note: {count} records in {outbox_of(paths)} wait for another store; `rhobeta sync`"
            f" with MLFLOW_TRACKING_URI={place} delivers them"
        )


def _other_claims(found: list[RunInfo]) -> str:
    others = len(found) - 1
    return f"; {others} more claim it, `rhobeta trace` lists them" if others else ""
