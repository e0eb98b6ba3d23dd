"""How much each searched parameter matters for each objective."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

_FEWEST_TRIALS = 4


def importances_of(study: "Study", objectives: Iterable[str]) -> dict[str, dict[str, float]]:
    """PED-ANOVA's importances of the parameters, summing to 1, for each objective.

    Where too few trials are complete there are none. Source: Watanabe, Bansal and Hutter,
    "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces", 2023.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < _FEWEST_TRIALS:
        return {}
    found = {}
    for index, name in enumerate(objectives):

        def value(trial: "FrozenTrial", index: int = index) -> float:
            # Least is best for PED-ANOVA, whatever the direction of the study.
            sign = 1 if study.directions[index].name == "MINIMIZE" else -1
            return sign * float(trial.values[index])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = get_param_importances(
                study,
                evaluator=PedAnovaImportanceEvaluator(),
                target=value,
            )
    return found
