"""MLflow's side of a study: one parent run, and a child run for each trial."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from rhobeta.config.params import Params, flatten
from rhobeta.data.splits import Manifest
from rhobeta.tracking.availability import is_unavailable
from rhobeta.tracking.provenance import Code, user_name
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import Store
from rhobeta.tracking.tags import DATA_TAG, ERROR_TAG, NOTE_TAG, PARENT_TAG, STAGE_TAG
from rhobeta.tracking.training_run import training_tags
from rhobeta.tracking.view import run_page

if TYPE_CHECKING:
    from mlflow.entities import Run as RunEntity

STUDY_TAG = "rhobeta.study"
STUDY_ID_TAG = "rhobeta.study_id"
TRIAL_TAG = "rhobeta.trial"
PRUNED_TAG = "rhobeta.pruned_epoch"


def parent_run(store: Store, params: Params, study_id: str, code: Code, manifest: Manifest) -> Run:
    """The study's run in this store: found by the study's id, or created.

    Of several that machines create at the same moment, the first stays; the others are deleted.
    """
    found = _find_runs(store, study_id, "tune")
    if found:
        run_id = found[0].info.run_id
        store.client.update_run(run_id, status="RUNNING")
        return Run(store, run_id)
    tags = {
        "mlflow.user": user_name(),
        "mlflow.source.name": "rhobeta tune",
        "mlflow.source.type": "LOCAL",
        STAGE_TAG: "tune",
        STUDY_TAG: params.tune.study,
        STUDY_ID_TAG: study_id,
        DATA_TAG: manifest.sha256,
        **code.tags,
    }
    name = f"study {params.tune.study}"
    mine = store.client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id
    first = _find_runs(store, study_id, "tune")[0].info.run_id
    if first != mine:
        store.client.delete_run(mine)
        return Run(store, first)
    # Imported here: readers of a study need not load torch.
    from rhobeta.training.build import hparams_of

    run = Run(store, mine)
    hparams = hparams_of(params, manifest)
    held = {path: value for path, value in hparams.items() if path not in params.tune.space}
    search = flatten(params.tune, "tune.")
    if params.tune.storage is not None:
        search["tune.storage"] = without_password(params.tune.storage)
    run.log_params(held | search)
    return run


def trial_tags(
    parent: str, study: str, study_id: str, trial: int, code: Code, manifest: Manifest
) -> dict[str, str]:
    """Tags that place a trial's run below the study's run, and name the trial."""
    return {
        **training_tags(code, manifest),
        "mlflow.source.name": "rhobeta tune",
        STAGE_TAG: "trial",
        PARENT_TAG: parent,
        STUDY_TAG: study,
        STUDY_ID_TAG: study_id,
        TRIAL_TAG: str(trial),
    }


def trial_note(
    store: Store, parent: str, study: str, trial: int, reached: Mapping[str, float] | None = None
) -> dict[str, str]:
    """The description of a trial's run: its objectives once measured, and a link to the study."""
    link = f"Trial {trial} of the study [{study}]({run_link(store, parent)})."
    if reached is None:
        return {NOTE_TAG: link}
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in reached.items())
    return {NOTE_TAG: f"**{numbers}** on the validation images.\n\n{link}"}


def run_link(store: Store, run_id: str) -> str:
    """Where MLflow's UI shows a run, relative to the UI."""
    return run_page(store.experiment_id, run_id)


def trial_name(values: Mapping[str, Any], trial: int) -> str:
    """The values of a trial and its number: `rho=0.05 beta=0.008 (trial 12)`."""
    words = [f"{path.rpartition('.')[2]}={_word(value)}" for path, value in values.items()]
    return f"{' '.join(words)} (trial {trial})"


def end_lost_runs(
    store: Store, study_id: str, running: Callable[[], Collection[tuple[str, str]]]
) -> None:
    """End the runs of this study's trials that no worker has any more, as KILLED.

    `running` gives study and number of the trials that a worker still has. It is asked after the
    open runs have been listed: a trial is running before its run is created. Where the MLflow
    server does not answer, the next command does it.
    """
    try:
        open_runs = _find_runs(store, study_id, "trial", status="RUNNING")
    except Exception as error:
        if not is_unavailable(error):
            raise
        return
    alive = running()
    for run in open_runs:
        if (run.data.tags.get(STUDY_TAG, ""), run.data.tags.get(TRIAL_TAG, "")) not in alive:
            Run(store, run.info.run_id).end("KILLED", {ERROR_TAG: "its worker was lost"})


def _find_runs(
    store: Store, study_id: str, stage: str, status: str | None = None
) -> "list[RunEntity]":
    conditions = [f"tags.`{STUDY_ID_TAG}` = '{study_id}'", f"tags.`{STAGE_TAG}` = '{stage}'"]
    if status is not None:
        conditions.append(f"attributes.status = '{status}'")
    found = store.client.search_runs(
        [store.experiment_id],
        filter_string=" and ".join(conditions),
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
    )
    return list(found)


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
