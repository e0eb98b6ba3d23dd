"""`rhobeta sync`: what waits for the server is delivered; the workspace's model gets its run.

DVC may bring a model from its cache, another commit or a remote; no stage runs then, and nothing
is logged. What the run lacks is added from the files beside the model, of which only those are
taken that belong to it.
"""

from rhobeta.errors import RhobetaError
from rhobeta.params import Params
from rhobeta.paths import Paths
from rhobeta.story.belongings import belongings_of
from rhobeta.story.ends import read_model_file
from rhobeta.story.gaps import gaps_of
from rhobeta.story.records import Record, Records
from rhobeta.tracking.outbox import deliver, outbox_of
from rhobeta.tracking.store import Store, find_store, open_store

_DIGITS_SHOWN = 12


def sync(params: Params, paths: Paths, *, quiet: bool = False) -> None:
    """Deliver what waited; find or restore the run of the workspace's model; add what it lacks.

    Prints one line of the model; `quiet` leaves it out where nothing was lacking. Raises
    `RhobetaError` where there is no model, and where the store cannot be used.
    """
    store_there = find_store(paths)
    if store_there is not None:
        _deliver(store_there, paths)
    if not paths.model.is_file():
        raise RhobetaError(
            f"There is no model in the workspace: {paths.model} is missing.\n"
            "`dvc repro` trains one; `dvc checkout` or `dvc pull` brings that of dvc.lock."
        )
    model = read_model_file(paths.model)
    name = f"model {model.sha256[:_DIGITS_SHOWN]}"
    belongings = belongings_of(model, paths)
    found = Records(store_there).of_model(model.sha256)
    gaps = gaps_of(found[0], belongings) if found else []
    if found and not gaps:
        if not quiet:
            print(f"{name} has its run {found[0].id}{_other_claims(found)}")
        return
    from rhobeta.story.restore import make_whole

    store = open_store(paths, params.runtime.experiment)
    run_id = make_whole(store, found[0] if found else None, belongings, paths)
    if found:
        added = ", ".join(gap.value for gap in gaps)
        print(f"{name}: added {added} to its run {run_id}{_other_claims(found)}")
    else:
        print(f"{name} had no run in the store; restored {run_id}")


def _deliver(store: Store, paths: Paths) -> None:
    delivery = deliver(store, paths)
    if delivery.delivered:
        print(f"delivered {delivery.delivered} records that had waited for the MLflow server")
    if delivery.left:
        why = f" ({delivery.reason})" if delivery.reason else ""
        print(f"{delivery.left} records still wait in {outbox_of(paths)}{why}")


def _other_claims(found: list[Record]) -> str:
    others = len(found) - 1
    return f"; {others} more claim it, `rhobeta trace` lists them" if others else ""
