"""One trial: its parameters, its training, what it is measured by, its MLflow run."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
import pytorch_lightning as pl
import torch

from rhobeta.config.params import Params
from rhobeta.data.labelled import LabelledImages
from rhobeta.data.splits import Manifest
from rhobeta.tracking.callback import TrackEpochs
from rhobeta.tracking.provenance import Code
from rhobeta.tracking.run import Run, StoppedOnPurpose, new_run
from rhobeta.tracking.store import Store
from rhobeta.tracking.training_run import outcome_tags
from rhobeta.training.build import architecture_of, hparams_of, objective_of, optimization_of
from rhobeta.training.callbacks import epoch_metrics
from rhobeta.training.devices import Machine
from rhobeta.training.fit import Trained, fit
from rhobeta.training.process_group import ProcessGroup
from rhobeta.tuning.measures import Probe, measures_of_epoch, require_measures
from rhobeta.tuning.outage import answering
from rhobeta.tuning.ranks import devices_of, told, train_in_processes
from rhobeta.tuning.runs import PRUNED_TAG, end_lost_run, trial_name, trial_note, trial_tags
from rhobeta.tuning.space import suggested, with_values
from rhobeta.tuning.study import MEASURES, RUN

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from rhobeta.tuning.worker import Job


@dataclass(frozen=True)
class Surroundings:
    """What a worker has loaded once and gives to all its trials."""

    params: Params
    distributions: "Mapping[str, BaseDistribution]"
    manifest: Manifest
    train: LabelledImages
    validation: LabelledImages
    probe: Probe | None
    """Where an objective, a constraint or the rule asks for it."""
    store: Store
    code: Code
    parent: str
    """The MLflow run of the study."""
    study: str
    """The name of the study, or of the one that repeats its front."""
    study_id: str
    job: "Job"
    ending: threading.Event
    """Set when the worker is asked to end."""


def run_trial(trial: optuna.Trial, around: Surroundings) -> list[float]:
    """Train and measure; the values of the objectives, in their order.

    Raises `TrialPruned` where the pruner ends it, `SystemExit` where the worker is asked to end,
    `StoreUnavailableError` where MLflow's server is away and no run can begin, `RhobetaError`
    where the parameters do not fit together or training diverges.
    """
    values = suggested(trial, around.distributions)
    tags = trial_tags(
        around.parent,
        around.study,
        around.study_id,
        trial.number,
        around.code,
        around.manifest,
    )
    tags |= trial_note(around.store, around.parent, around.study, trial.number)
    name = trial_name(values, trial.number)
    try:
        with ExitStack() as until_it_ends:
            with answering(around.store):
                _end_lost_runs(trial, around)
                run = until_it_ends.enter_context(new_run(around.store, name=name, tags=tags))
            trial.set_user_attr(RUN, run.run_id)
            params = with_values(around.params, values)
            run.log_params(hparams_of(params, around.manifest))
            measures = _measured(trial, params, around, run)
    except StoppedOnPurpose as stop:
        raise optuna.TrialPruned(str(stop)) from None
    for bound in params.tune.bounds:
        trial.set_constraint(str(bound), bound.excess(measures[bound.metric]))
    trial.set_user_attr(MEASURES, measures)
    return [measures[name] for name in params.tune.objectives]


def train_once(
    params: Params,
    manifest: Manifest,
    train: LabelledImages,
    validation: LabelledImages,
    callbacks: Sequence[pl.Callback],
    *,
    devices: int = 1,
) -> Trained:
    """A training of these parameters in silence: in this process, or as one of `devices`."""
    return fit(
        architecture_of(params, manifest.image_shape),
        objective_of(params),
        optimization_of(params),
        train,
        validation,
        seed=params.training.seed,
        machine=Machine(params.runtime.accelerator, devices),
        callbacks=callbacks,
        # Several workers share one terminal, and the parent says how far they are.
        progress=False,
    )


class EndOnRequest(pl.Callback):
    """Ends the training between two steps once the worker is asked to end."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Raise `SystemExit` if the worker is to end."""
        if self._ending.is_set():
            raise SystemExit


class ReportToPruner(pl.Callback):
    """Reports the objective of every epoch, and ends the training where the pruner says so.

    Of several processes the one that has the trial asks; the others, which have None, end with it.
    """

    def __init__(self, trial: optuna.Trial | None, objective: str, units: int) -> None:
        self._trial, self._objective, self._units = trial, objective, units

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report this epoch. Raises `StoppedOnPurpose` with the epoch where the trial is pruned."""
        epoch = trainer.current_epoch + 1
        pruned = False
        if self._trial is not None:
            measures = measures_of_epoch(epoch_metrics(pl_module), self._units)
            self._trial.report(measures[self._objective], epoch)
            pruned = epoch < (trainer.max_epochs or 0) and self._trial.should_prune()
        group = ProcessGroup(trainer.global_rank, trainer.world_size)
        word = torch.tensor([pruned], device=trainer.strategy.root_device)
        if bool(group.any(word)):
            raise StoppedOnPurpose({PRUNED_TAG: str(epoch)})


def reports_to_pruner(trial: optuna.Trial | None, params: Params) -> list[pl.Callback]:
    """The callback that reports to the pruner, where the parameters ask for one."""
    if params.tune.pruner == "none":
        return []
    units = params.model.hidden_sizes[-1]
    return [ReportToPruner(trial, next(iter(params.tune.objectives)), units)]


def _measured(
    trial: optuna.Trial, params: Params, around: Surroundings, run: Run
) -> dict[str, float]:
    units = params.model.hidden_sizes[-1]
    trained = (
        _trained_here(trial, params, around, run)
        if devices_of(params) == 1
        else _trained_by_several(trial, params, around, run)
    )
    measures = measures_of_epoch(trained.best_metrics, units)
    if around.probe is not None:
        measures["probe_accuracy"] = around.probe.accuracy(trained.model)
    require_measures(measures, params.tune.metrics)
    run.log_metrics({f"best/{name}": value for name, value in measures.items()})
    reached = {name: measures[name] for name in params.tune.objectives}
    note = trial_note(around.store, around.parent, around.study, trial.number, reached)
    run.set_tags(outcome_tags(trained) | note)
    return measures


def _trained_here(trial: optuna.Trial, params: Params, around: Surroundings, run: Run) -> Trained:
    # The tracking callback first: a pruned epoch's metrics belong to the run too.
    callbacks = [TrackEpochs(run), EndOnRequest(around.ending), *reports_to_pruner(trial, params)]
    return train_once(params, around.manifest, around.train, around.validation, callbacks)


def _trained_by_several(
    trial: optuna.Trial, params: Params, around: Surroundings, run: Run
) -> Trained:
    job = around.job
    words = told(
        params,
        job.paths,
        run_id=run.run_id,
        study=around.study,
        trial_id=trial._trial_id,
        threads=job.threads,
    )
    return train_in_processes(words, devices_of(params), job.url)


def _end_lost_runs(trial: optuna.Trial, around: Surroundings) -> None:
    # A trial that is run again has the attributes of the one that was lost.
    lost = trial.user_attrs.get(RUN)
    if lost is not None:
        end_lost_run(around.store, lost, trial.number)
