"""The pictures and the table of a study, drawn from results made up here."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image as mpl_image
from matplotlib import pyplot as plt

from helpers import with_changes
from rhobeta.config.params import check_params
from rhobeta.config.search import TuneParams
from rhobeta.metrics.confidence import Interval
from rhobeta.reporting.style import save, style
from rhobeta.tuning.choice import Candidate, front_of
from rhobeta.tuning.pictures import draw_front, draw_history, draw_importance
from rhobeta.tuning.results import Results, Row, as_csv, front_table
from rhobeta.tuning.surface import draw_surface

TWO = {"fvu": "minimize", "gini": "maximize"}
THREE = TWO | {"probe_accuracy": "maximize"}


def tune_of(**changes: Any) -> TuneParams:
    named = {f"tune.{name}": value for name, value in changes.items()}
    return check_params(with_changes(named), where="test").tune


def made_up(objectives: dict[str, str], trials: int = 30, *, repeated: bool = False) -> Results:
    random = np.random.default_rng(0)
    rows = []
    for number in range(trials):
        rho, beta = 0.01 * 50 ** random.random(), 0.0001 * 1000 ** random.random()
        measures = {
            "fvu": float(0.2 + beta * 5 + 0.01 * random.random()),
            "gini": float(0.9 - rho + beta),
            "probe_accuracy": float(0.9 + 0.05 * random.random()),
        }
        values = {"penalty.rho": rho, "penalty.beta": beta}
        keeps = number % 5 != 4
        rows.append(Row(number, "complete", values, measures, keeps, f"run{number}", ""))
    rows.append(Row(trials, "failed", {"penalty.rho": 0.1}, {}, True, "", "it diverged, badly"))
    kept = [Candidate(row.number, row.measures) for row in rows[:-1] if row.keeps_bounds]
    front = front_of(kept, objectives)
    noise = {
        candidate.number: {
            name: Interval(value * 1.02, abs(value) * 0.03, 3)
            for name, value in candidate.measures.items()
        }
        for candidate in front
    }
    return Results(objectives, rows, front, noise if repeated else {}, front[0].number)


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("objectives", [TWO, THREE])
def test_pictures_are_not_blank_and_the_same_again(
    objectives: dict[str, str], repeated: bool, tmp_path: Path
) -> None:
    tune = tune_of(objectives=objectives)

    def drawn(folder: Path) -> dict[str, bytes]:
        results = made_up(objectives, repeated=repeated)
        shares = {name: {"penalty.rho": 0.3, "penalty.beta": 0.7} for name in objectives}
        with style():
            figures = {
                "front": draw_front(results, tune),
                "surface": draw_surface(results, tune),
                "importance": draw_importance(shares),
                "history": draw_history(results, tune),
            }
            for name, figure in figures.items():
                assert figure is not None, name
                save(figure, folder / f"{name}.png", 60)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    first = drawn(tmp_path / "first")
    assert len(first) == 4
    for path in (tmp_path / "first").iterdir():
        assert mpl_image.imread(path)[..., :3].std() > 0.02, path.name
    assert drawn(tmp_path / "second") == first


def test_the_front_s_picture_says_what_is_drawn_and_marks_the_choice() -> None:
    results = made_up(TWO, repeated=True)
    with style():
        figure = draw_front(results, tune_of())
        assert figure is not None
        (axis,) = figure.axes
        labels = axis.get_legend_handles_labels()[1]
        assert f"on the front ({len(results.front)})" in labels
        assert "breaks a constraint (6)" in labels
        assert f"chosen: trial {results.chosen}" in labels
        assert "mean of 3 further seeds, 95 % interval" in labels
        assert axis.get_xlabel() == "fraction of variance unexplained (less is better)"
        assert axis.get_ylabel() == "Gini index of the code (more is better)"
        star = axis.lines[-1]
        over = results.repeated[results.chosen or 0]
        assert star.get_xdata() == [over["fvu"].mean]
        plt.close(figure)


def test_the_surface_has_log_axes_where_the_search_has_and_a_panel_an_objective() -> None:
    space = {
        "penalty.rho": {"low": 0.01, "high": 0.5, "log": True},
        "penalty.beta": {"low": 0.0001, "high": 0.1},
    }
    with style():
        figure = draw_surface(made_up(TWO), tune_of(space=space))
        assert figure is not None
        panels = [axis for axis in figure.axes if axis.get_xlabel()]
        assert [axis.get_xlabel() for axis in panels] == ["penalty.rho"] * 2
        assert {(axis.get_xscale(), axis.get_yscale()) for axis in panels} == {("log", "linear")}
        plt.close(figure)


@pytest.mark.parametrize(
    ("space", "drawn"),
    [
        ({"penalty.rho": {"low": 0.01, "high": 0.5}}, True),
        ({"training.schedule": {"choices": ["constant", "cosine"]}}, False),
    ],
)
def test_a_surface_needs_a_number_that_is_searched(space: Any, drawn: bool) -> None:
    with style():
        figure = draw_surface(made_up(TWO), tune_of(space=space))
        assert (figure is not None) is drawn
        plt.close("all")


def test_few_or_no_trials_leave_pictures_out() -> None:
    nothing = Results(TWO, [], [])
    with style():
        assert draw_front(nothing, tune_of()) is None
        assert draw_surface(nothing, tune_of()) is None
        assert draw_history(nothing, tune_of()) is None
        assert draw_importance({}) is None
        # Too few for a surface, but not for their points.
        assert draw_surface(made_up(TWO, trials=3), tune_of()) is not None
        plt.close("all")


def test_the_table_holds_every_trial_with_its_fate() -> None:
    results = made_up(TWO, trials=10)
    rows = list(csv.DictReader(io.StringIO(as_csv(results))))
    assert [row["trial"] for row in rows] == [str(n) for n in range(11)]
    assert rows[-1]["state"] == "failed"
    assert rows[-1]["note"] == "it diverged, badly"
    assert rows[-1]["fvu"] == ""
    assert [row["trial"] for row in rows if row["chosen"] == "yes"] == [str(results.chosen)]
    assert [row["trial"] for row in rows if row["keeps_bounds"] == "no"] == ["4", "9"]
    assert float(rows[0]["fvu"]) == pytest.approx(results.rows[0].measures["fvu"], rel=1e-8)


def test_the_front_as_text_marks_the_chosen_trial_and_shows_the_noise() -> None:
    results = made_up(TWO, repeated=True)
    lines = front_table(results).splitlines()
    assert len(lines) == 2 + len(results.front)
    (marked,) = [line for line in lines if line.startswith("->")]
    assert marked.split()[1] == str(results.chosen)
    assert marked.count(" ± ") == 2
    assert front_table(Results(TWO, [], [])) == "no trial is on the front"
