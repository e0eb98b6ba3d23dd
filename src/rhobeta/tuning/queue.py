"""The queue of a study: how a worker takes a trial from it, puts one back, and ends one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rhobeta.tracking.store import Store, StoreUnavailableError
from rhobeta.tuning.runs import end_given_up_run
from rhobeta.tuning.storage import one_at_a_time
from rhobeta.tuning.study import INTERRUPTED, RUN, WITHDRAWN, is_given_up

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial, TrialState


class Queue:
    """A study's trials, as one of many workers sees them.

    Whatever changes who has a trial is done by one process at a time, also where the database is
    an sqlite file.
    """

    def __init__(self, study: "Study", storage: "RDBStorage", url: str) -> None:
        """`url` is the database's."""
        self._study, self._storage, self._url = study, storage, url
        self._beaten: set[int] = set()
        self._closed: set[int] = set()

    def claim(self) -> "Trial":
        """The first trial that waits, else a new one."""
        with one_at_a_time(self._url):
            return self._study.ask()

    def is_drawn(self, trial: "Trial") -> bool:
        """Whether a claimed trial is new, and its values are yet to be drawn."""
        return not trial.params and "fixed_params" not in self._stored(trial).system_attrs

    def tell(
        self, trial: "Trial", state: "TrialState", values: Sequence[float] | None = None
    ) -> bool:
        """Say what became of a trial; False where it was taken for lost, and ended, meanwhile."""
        import optuna
        from optuna.trial import TrialState

        try:
            with one_at_a_time(self._url):
                self._study.tell(trial, values, state=state)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
            # ValueError is how Optuna refuses to tell a trial that somebody else has ended.
            if self._stored(trial).state == TrialState.RUNNING:
                raise
            return False
        return True

    def withdraw(self, trial: "Trial") -> None:
        """End a claimed trial that is one too many."""
        from optuna.trial import TrialState

        trial.set_user_attr(WITHDRAWN, True)
        self.tell(trial, TrialState.FAIL)

    def put_back(self, trial: "Trial") -> bool:
        """Let a trial wait again, as often as it happens, with the values that it has.

        False where it was taken for lost meanwhile, and waits already.
        """
        import optuna
        from optuna.trial import TrialState

        with one_at_a_time(self._url):
            try:
                self._storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, trial.number)
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            except optuna.exceptions.UpdateFinishedTrialError:
                return False
            ended = self._stored(trial)
            # The history of lost workers in the system attributes is kept and not added to: whoever
            # is asked to end says so, which is no sign of a trial that ends its workers.
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.WAITING,
                    params=ended.params,
                    distributions=ended.distributions,
                    user_attrs=ended.user_attrs,
                    system_attrs=ended.system_attrs,
                )
            )
        return True

    def tend(self) -> None:
        """Put the trials of lost workers back, also of those that died before their first beat."""
        import optuna
        from optuna.trial import TrialState

        with one_at_a_time(self._url):
            optuna.storages.fail_stale_trials(self._study)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in self._beaten:
                # Once, in its name: without any beat it would count as running for ever.
                self._beaten.add(trial.number)
                self._storage.record_heartbeat(trial._trial_id)

    def close_given_up(self, store: Store) -> None:
        """End the MLflow runs of trials whose worker was lost too often; nobody else does."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.number in self._closed or not is_given_up(trial):
                continue
            run_id: Any = trial.user_attrs.get(RUN)
            try:
                if run_id is not None:
                    end_given_up_run(store, run_id)
            except StoreUnavailableError:
                # To be looked at again the next time.
                return
            self._closed.add(trial.number)

    def _stored(self, trial: "Trial") -> "FrozenTrial":
        return self._storage.get_trial(trial._trial_id)
