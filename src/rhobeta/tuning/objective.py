"""The objective that Optuna calls: train a trial's parameters, measure, and record it in MLflow."""

from contextlib import suppress

import numpy as np
import optuna
import pytorch_lightning as pl
from optuna.exceptions import UpdateFinishedTrialError

from rhobeta.config.params import Params, with_values
from rhobeta.data.splits import Manifest, read_manifest, read_split
from rhobeta.tracking.availability import is_unavailable
from rhobeta.tracking.callback import TrackEpochs
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import Run, StoppedOnPurpose, new_run
from rhobeta.tracking.store import Store, open_store
from rhobeta.tracking.training_run import outcome_tags
from rhobeta.training.auto import without_auto
from rhobeta.training.build import hparams_of
from rhobeta.training.callbacks import epoch_metrics
from rhobeta.training.fit import fit
from rhobeta.tuning.job import TuningJob
from rhobeta.tuning.measures import Probe, measures_of_epoch
from rhobeta.tuning.space import suggest
from rhobeta.tuning.study import ERROR, MEASURES, QUEUED, RUN
from rhobeta.tuning.study_runs import PRUNED_TAG, trial_name, trial_note, trial_tags


class TrialObjective:
    """Trains and measures one trial; the data are verified once, and never the test split.

    Returns the values of `tune.objectives` in their order. An interrupted trial, and one whose run
    cannot begin because the MLflow server does not answer, is queued again with its values.
    """

    def __init__(self, job: TuningJob) -> None:
        params = job.params
        self.store: Store = open_store(job.paths, params.runtime.experiment)
        self._job = job
        self._manifest: Manifest = read_manifest(job.paths.splits)
        self._train = read_split(job.paths.splits, "train", self._manifest)
        self._validation = read_split(job.paths.splits, "validation", self._manifest)
        self._probe: Probe | None = None
        if "probe" in params.tune.metrics:
            few = min(params.tune.probe_images, len(self._train))
            self._probe = Probe(
                self._train.take(np.arange(few)),
                self._validation,
                params.evaluate.probe_penalty,
            )

    def __call__(self, trial: optuna.Trial) -> list[float]:
        """Raises `TrialPruned` where the pruner ends the trial, and any error of its training."""
        if self._job.repeats and QUEUED not in trial.user_attrs:
            # Another worker has taken the last repeat; Optuna drew new values instead.
            raise optuna.TrialPruned
        try:
            return self._run(trial)
        except StoppedOnPurpose as stop:
            raise optuna.TrialPruned(str(stop)) from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or is_unavailable(error):
                trial.study.enqueue_trial(trial.params, user_attrs={QUEUED: True})
            else:
                reason = without_password(f"{type(error).__name__}: {error}")
                with suppress(UpdateFinishedTrialError):
                    trial.set_user_attr(ERROR, reason[:2000])
            raise

    def _run(self, trial: optuna.Trial) -> list[float]:
        job = self._job
        values = suggest(trial, job.params, seed=job.repeats)
        tags = trial_tags(
            job.parent_run, job.study, job.study_id, trial.number, job.code, self._manifest
        )
        tags |= trial_note(self.store, job.parent_run, job.study, trial.number)
        with new_run(self.store, name=trial_name(values, trial.number), tags=tags) as run:
            trial.set_user_attr(RUN, run.run_id)
            params = with_values(job.params, values, where="the parameters of this trial")
            params = without_auto(params, self._train.values)
            run.log_params(hparams_of(params, self._manifest))
            measures = self._measured(trial, params, run)
        for bound in params.tune.bounds:
            trial.set_constraint(str(bound), bound.excess(measures[bound.metric]))
        trial.set_user_attr(MEASURES, measures)
        return [measures[name] for name in params.tune.objectives]

    def _measured(self, trial: optuna.Trial, params: Params, run: Run) -> dict[str, float]:
        job, units = self._job, params.model.hidden_sizes[-1]
        # The tracking callback first: a pruned epoch's metrics belong to the run too.
        callbacks: list[pl.Callback] = [TrackEpochs(run)]
        if params.tune.pruner != "none":
            callbacks.append(ReportToPruner(trial, next(iter(params.tune.objectives)), units))
        trained = fit(params, self._train, self._validation, callbacks=callbacks, progress=False)
        measures = measures_of_epoch(trained.best_metrics, units)
        if self._probe is not None:
            measures["probe"] = self._probe.accuracy(trained.model)
        run.log_metrics({f"best/{name}": value for name, value in measures.items()})
        reached = {name: measures[name] for name in params.tune.objectives}
        note = trial_note(self.store, job.parent_run, job.study, trial.number, reached)
        run.set_tags(outcome_tags(trained) | note)
        return measures


class ReportToPruner(pl.Callback):
    """Reports the objective of every epoch, and ends the training where the pruner says so."""

    def __init__(self, trial: optuna.Trial, objective: str, units: int) -> None:
        self._trial, self._objective, self._units = trial, objective, units

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report this epoch. Raises `StoppedOnPurpose` with the epoch where the trial is pruned."""
        epoch = trainer.current_epoch + 1
        measures = measures_of_epoch(epoch_metrics(pl_module), self._units)
        self._trial.report(measures[self._objective], epoch)
        if epoch < (trainer.max_epochs or 0) and self._trial.should_prune():
            raise StoppedOnPurpose({PRUNED_TAG: str(epoch)})
