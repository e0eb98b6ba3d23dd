"""Optuna's sampler and pruner, as the parameters ask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from rhobeta.config.params import Params
from rhobeta.tuning.space import rounded

# The median pruner waits for these: the schedule's warm-up says nothing about the end.
_WARM_UP_SHARE = 0.1
_FEWEST_TRIALS = 5
# Of the trials that reach a ninth, and then a third, of the epochs, the best third continues.
_KEPT = 3


class NumberedTPE(BaseSampler):
    """Optuna's TPE with a seed for each trial: the study's seed and the trial's number.

    Trial numbers are unique in a study, so workers on any number of machines draw different values
    without knowing of each other. One worker draws the same values again, also after a break.
    Numbers are rounded before they are stored, so that the study holds what was trained.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        self._seed, self._startup_trials = seed, startup_trials
        self._sampler = self._of(0)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed for this trial."""
        self._sampler = self._of(trial.number)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As TPE does."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE does, numbers with four significant digits."""
        drawn = self._sampler.sample_relative(study, trial, search_space)
        return {path: rounded(value, search_space[path]) for path, value in drawn.items()}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As TPE does, a number with four significant digits."""
        drawn = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        return rounded(drawn, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As TPE does."""
        self._sampler.after_trial(study, trial, state, values)

    def _of(self, number: int) -> TPESampler:
        mixed = np.random.SeedSequence([self._seed, number]).generate_state(1)
        return TPESampler(seed=int(mixed[0]), n_startup_trials=self._startup_trials)


def pruner_of(params: Params) -> BasePruner:
    """The pruner that ends trials early."""
    epochs = params.training.epochs
    if params.tune.pruner == "median":
        return MedianPruner(
            n_startup_trials=_FEWEST_TRIALS, n_warmup_steps=round(_WARM_UP_SHARE * epochs)
        )
    first = max(1, epochs // _KEPT**2)
    if params.tune.pruner == "halving":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=_KEPT)
    if params.tune.pruner == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=_KEPT)
    return NopPruner()
