"""MLflow's side of a study: one parent run, one child run a trial, each leading to the other."""

from collections.abc import Callable, Mapping
from typing import Any

from rhobeta.config.params import Params, flatten
from rhobeta.data.splits import Manifest
from rhobeta.tracking.provenance import Code, user_name
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import Store, without_password
from rhobeta.tracking.tags import DATA_TAG, ERROR_TAG, NOTE_TAG, PARENT_TAG, STAGE_TAG
from rhobeta.tracking.training_run import training_tags
from rhobeta.tuning.outage import answering
from rhobeta.tuning.storage import MOST_RETRIES

STUDY_TAG = "rhobeta.study"
STUDY_ID_TAG = "rhobeta.study_id"
TRIAL_TAG = "rhobeta.trial"
PRUNED_TAG = "rhobeta.pruned_epoch"


def parent_run(
    store: Store,
    params: Params,
    study_id: str,
    code: Code,
    manifest: Manifest,
    *,
    awaited: Callable[[], bool] = lambda: False,
) -> Run:
    """The study's run in this store: found by the study's id, or begun.

    `awaited` lets a moment pass and says whether another process is still about to begin it. Of
    several that machines begin at the same moment all the same, the first stays, and the others are
    removed.
    """
    found = _parents(store, study_id)
    while not found and awaited():
        found = _parents(store, study_id)
    if found:
        store.client.update_run(found[0], status="RUNNING")
        return Run(store, found[0])
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
    first = _parents(store, study_id)[0]
    if first != mine:
        store.client.delete_run(mine)
        return Run(store, first)
    # With it come torch and Lightning, which who only reads a study's runs does not need.
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
    """Tags that place a trial's run below the study's, and name the trial."""
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
    """The description of a trial's run: which trial it is, with a link to the study's run.

    Once it is measured, the objectives that it `reached` stand before that.
    """
    of = f"Trial {trial} of the study [{study}]({run_link(store, parent)})."
    if reached is None:
        return {NOTE_TAG: of}
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in reached.items())
    return {NOTE_TAG: f"**{numbers}** on the validation images.\n\n{of}"}


def describe_study(run: Run, text: str) -> None:
    """Set the description of the study's run."""
    run.set_tags({NOTE_TAG: text})


def run_link(store: Store, run_id: str) -> str:
    """Where MLflow's UI shows a run, relative to the UI."""
    return f"#/experiments/{store.experiment_id}/runs/{run_id}"


def trial_name(values: Mapping[str, Any], trial: int) -> str:
    """What differs between trials, shortest first: `rho=0.05 beta=0.008 (trial 12)`."""
    words = [f"{path.rpartition('.')[2]}={_word(value)}" for path, value in values.items()]
    return f"{' '.join(words)} (trial {trial})"


def end_lost_run(store: Store, run_id: str, again: int) -> None:
    """Mark the run of a trial whose worker was lost; trial `again` repeats it.

    Raises `StoreUnavailableError` where the server does not answer.
    """
    if _is_running(store, run_id):
        _end(Run(store, run_id), "KILLED", f"its worker was lost; trial {again} runs it again")


def end_given_up_run(store: Store, run_id: str) -> None:
    """Mark the run of a trial whose worker was lost so often that it is not repeated any more.

    Raises `StoreUnavailableError` where the server does not answer.
    """
    if _is_running(store, run_id):
        reason = f"its worker was lost, as {MOST_RETRIES} before; it is not run again"
        _end(Run(store, run_id), "FAILED", reason)


def disown_run(store: Store, run_id: str) -> None:
    """Mark the run of a trial that was taken for lost while it was only slow."""
    _end(Run(store, run_id), "KILLED", "taken for lost; it ran again, and counts there")


def _is_running(store: Store, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        with answering(store):
            return bool(store.client.get_run(run_id).info.status == "RUNNING")
    except MlflowException:
        # Another machine's store, where this one keeps its runs apart.
        return False


def _end(run: Run, status: str, reason: str) -> None:
    run.end(status, {ERROR_TAG: reason})


def _parents(store: Store, study_id: str) -> list[str]:
    found = store.client.search_runs(
        [store.experiment_id],
        filter_string=f"tags.`{STUDY_ID_TAG}` = '{study_id}' and tags.`{STAGE_TAG}` = 'tune'",
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
    )
    return [run.info.run_id for run in found]


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
