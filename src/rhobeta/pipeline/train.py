"""Stage 3: train the sparse autoencoder and record the run in MLflow."""

from rhobeta.config.params import Params, flatten
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import kind_of
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.extensions import PENALTY_SPECS
from rhobeta.model.serialization import ModelDescription, model_to_bytes
from rhobeta.paths import Paths
from rhobeta.tracking.callback import TrackEpochs
from rhobeta.tracking.package import log_model
from rhobeta.tracking.provenance import read_code
from rhobeta.tracking.store import open_store
from rhobeta.tracking.training_run import model_tags, outcome_tags, training_run
from rhobeta.training.auto import without_auto
from rhobeta.training.build import hparams_of
from rhobeta.training.checkpoint_folder import checkpoint_folder
from rhobeta.training.devices import place_among_processes, processes_per_node
from rhobeta.training.fit import fit
from rhobeta.training.processes import run_in_processes
from rhobeta.training.sparsity_control import rho_of
from rhobeta.training.steps import ENOUGH_ACTIVE_IMAGES, DivergedError
from rhobeta.utils.cpu import reason_for_other_bytes
from rhobeta.utils.files import write_bytes, write_text
from rhobeta.utils.threads import use_threads


def run(params: Params, paths: Paths) -> None:
    """Train on the train split; write the best model and the history; log all of it.

    Where `runtime` asks for several processes, they train together; that of rank 0 writes and
    logs. An interrupted training resumes from its last checkpoint, in the same MLflow run.
    """
    place, nodes = place_among_processes(), params.runtime.nodes
    per_node = processes_per_node(params.runtime)
    if place is None and nodes * per_node > 1:
        run_in_processes(["train"], per_node, nodes)
        return
    use_threads(params.runtime.threads, 1 if place is None else place.per_node)
    manifest = read_manifest(paths.splits)
    train = read_split(paths.splits, "train", manifest)
    validation = read_split(paths.splits, "validation", manifest)
    params = without_auto(params, train.values)
    if place is not None and place.rank > 0:
        # Its checkpoints are those of rank 0, which reads and writes them.
        fit(params, train, validation, checkpoints=paths.checkpoints)
        return

    if (reason := reason_for_other_bytes(params.runtime.cpu)) is not None:
        print(f"note: results have other bytes here than on other CPUs: {reason}", flush=True)
    _note_small_batches(params, len(train), kind_of(train.shape))
    code = read_code(paths.workspace)
    store = open_store(paths, params.runtime.experiment)
    hparams = hparams_of(params, manifest)
    with checkpoint_folder(paths, hparams, manifest.sha256) as checkpoints:
        with training_run(store, checkpoints.run_id, hparams, code, manifest) as tracked:
            checkpoints.note_run(tracked.run_id)
            tracked.log_params(hparams | flatten(params.runtime, "runtime."))
            track = TrackEpochs(tracked, tracked.last_epoch)
            try:
                trained = fit(
                    params, train, validation, callbacks=[track], checkpoints=checkpoints.last
                )
            except DivergedError:
                checkpoints.remove()
                raise
            except (KeyboardInterrupt, SystemExit):
                print("The training was interrupted; run it again to resume.", flush=True)
                raise
            content = model_to_bytes(
                trained.model,
                ModelDescription(
                    architecture=trained.model.architecture,
                    parameters=hparams,
                    data_sha256=manifest.sha256,
                    best_epoch=trained.best_epoch,
                    best_loss=trained.best_loss,
                    sparsity=trained.sparsity,
                ),
            )
            tracked.set_tags(model_tags(content) | outcome_tags(trained))
            tracked.log_metrics(
                {
                    f"best/{name.removeprefix('validation/')}": value
                    for name, value in trained.best_metrics.items()
                    if name.startswith("validation/")
                }
            )
            tracked.log_text(trained.history_csv, "history.csv")
            log_model(tracked, content, example=pixels_of(train.values[:2]))
            # Last, so that a written model belongs to a run that has all of it.
            write_text(paths.history, trained.history_csv)
            write_bytes(paths.model, content)
        if trained.missed_target is not None:
            print(f"note: {trained.missed_target}")
        # After the run has ended: until then a retry resumes from the last checkpoint.
        checkpoints.remove()
    print(
        f"kept epoch {trained.best_epoch} of {params.training.epochs}, the {params.training.keep},"
        f" of loss {trained.best_loss:.5f}; MLflow run {tracked.run_id}"
    )


def _note_small_batches(params: Params, count: int, kind: str) -> None:
    batch_size = params.training.batch_size
    rho = rho_of(params.penalty, params.model.hidden_sizes[-1])
    if batch_size > count:
        print(
            f"note: training.batch_size {batch_size} is more than the {count} training {kind};"
            " every epoch is one batch"
        )
    active = rho * min(batch_size, count)
    if PENALTY_SPECS[params.penalty.kind].uses_rho and active < ENOUGH_ACTIVE_IMAGES:
        print(
            f"note: rho times the {kind} of a batch is {active:g}, less than"
            f" {ENOUGH_ACTIVE_IMAGES}: one batch is too small to estimate the mean activation, so"
            " the penalty is that of a running mean"
        )
