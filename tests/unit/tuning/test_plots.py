"""The plots of a study: which there are, what they show, and the same bytes each time."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib import pyplot as plt
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.metrics.confidence import Interval
from rhobeta.reporting.style import save, style
from rhobeta.tuning.plots import plot_study
from rhobeta.tuning.show import write_results
from rhobeta.tuning.study import MEASURES
from rhobeta.tuning.study_results import StudyResults, read_results

ONE = {"fvu": "minimize"}
TWO = ONE | {"gini": "maximize"}
THREE = TWO | {"probe": "maximize"}
SPACE = {
    "penalty.rho": FloatDistribution(0.01, 0.5, log=True),
    "penalty.beta": FloatDistribution(0.0001, 0.1),
}


def params_for(objectives: dict[str, str], **changes: Any) -> Params:
    mode = {"tune.mode": "single" if len(objectives) == 1 else "pareto"}
    named = {f"tune.{name}": value for name, value in changes.items()}
    return check_params(with_changes(mode | {"tune.objectives": objectives} | named), where="test")


def made_up(params: Params, trials: int = 8) -> tuple[optuna.Study, StudyResults]:
    random = np.random.default_rng(0)
    objectives = params.tune.objectives
    study = optuna.create_study(directions=list(objectives.values()))
    for _ in range(trials):
        rho, beta = 0.01 * 50 ** random.random(), 0.0001 * 1000 ** random.random()
        measures = {
            "fvu": 0.2 + beta * 5 + 0.01 * random.random(),
            "gini": 0.9 - rho + beta,
            "probe": 0.9 + 0.05 * random.random(),
            "dead_share": float(beta > 0.05) - 0.45,
        }
        values = {"penalty.rho": rho, "penalty.beta": beta}
        study.add_trial(
            create_trial(
                params={path: values[path] for path in params.tune.space},
                distributions={path: SPACE[path] for path in params.tune.space},
                values=[measures[name] for name in objectives],
                user_attrs={MEASURES: measures},
                constraints={"dead_share <= 0.05": float(beta > 0.05) - 0.5},
            )
        )
    return study, read_results(study, None, params)


@pytest.mark.parametrize(("objectives", "kinds"), [(ONE, 3), (THREE, 12)])
def test_each_objective_has_its_plots(objectives: dict[str, str], kinds: int) -> None:
    params = params_for(objectives)
    study, results = made_up(params)
    with style():
        figures = plot_study(study, results, params.tune)
        assert len(figures) == kinds
        assert all(
            any(label.startswith("chosen") for label in axis.get_legend_handles_labels()[1])
            for name, figure in figures.items()
            for axis in figure.axes[:1]
            if not name.startswith("importance")
        )
        plt.close("all")


def test_the_front_page_names_every_trial(tmp_path: Path) -> None:
    params = params_for(TWO)
    study, results = made_up(params)
    written = write_results(results, study, params, tmp_path / "tuning")
    assert {"front.html", "front.png", "trials.csv"} <= {path.name for path in written}
    page = (tmp_path / "tuning" / "front.html").read_text()
    for row in results.rows:
        rho, fvu = row.values["penalty.rho"], row.measures["fvu"]
        assert re.search(rf"<title>trial {row.number}: fvu {fvu:.4g}, .*rho {rho:.4g}", page)
    chosen = rf"<title>chosen: trial {results.chosen}, penalty.rho .*, fvu .*, gini: "
    assert re.search(chosen, page)


def test_an_invalid_trial_is_not_drawn() -> None:
    params = params_for(TWO)
    study, _ = made_up(params)
    study.add_trial(
        create_trial(
            params={"penalty.rho": "x", "penalty.beta": 0.001},
            distributions=SPACE | {"penalty.rho": CategoricalDistribution(["x"])},
            values=[0.0, 1.0],
        )
    )
    with style():
        figures = plot_study(study, read_results(study, None, params), params.tune)
        assert figures["contour_fvu"].axes[0].get_yscale() == "log"
        plt.close("all")


def test_plots_are_the_same_bytes_again(tmp_path: Path) -> None:
    params = params_for(ONE)
    study, results = made_up(params)
    drawn = []
    for name in ("first", "second"):
        with style():
            for kind, figure in plot_study(study, results, params.tune).items():
                save(figure, tmp_path / name / f"{kind}.png", 40)
        drawn.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert drawn[0] == drawn[1]


def test_the_front_marks_the_chosen_trial_at_its_means() -> None:
    params = params_for(TWO, seeds=3)
    study, results = made_up(params)
    assert results.chosen is not None
    repeated = {
        trial.number: {
            name: Interval(value * 1.1, 0.01, 3) for name, value in trial.measures.items()
        }
        for trial in results.front
    }
    results = replace(results, repeated=repeated)
    with style():
        (axis,) = plot_study(study, results, params.tune)["front"].axes
        labels = axis.get_legend_handles_labels()[1]
        assert f"chosen: trial {results.chosen}" in labels
        assert "mean of 3 further seeds, 95 % interval" in labels
        assert axis.get_xlabel() == "fraction of variance unexplained (less is better)"
        assert axis.get_ylabel() == "Gini index of the code (more is better)"
        star = axis.lines[-1]
        assert star.get_xdata() == [repeated[results.chosen]["fvu"].mean]
        plt.close("all")


def test_a_contour_has_log_axes_where_the_search_has() -> None:
    params = params_for(TWO)
    study, results = made_up(params)
    with style():
        axis = plot_study(study, results, params.tune)["contour_fvu"].axes[0]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("penalty.beta", "penalty.rho")
        assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "log")
        plt.close("all")


def test_too_few_trials_or_parameters_leave_plots_out() -> None:
    params = params_for(TWO, space={"penalty.rho": {"low": 0.01, "high": 0.5}})
    study, results = made_up(params)
    with style():
        assert not any("contour" in name for name in plot_study(study, results, params.tune))
        plt.close("all")
    study, results = made_up(params, trials=3)
    assert plot_study(study, results, params.tune) == {}
