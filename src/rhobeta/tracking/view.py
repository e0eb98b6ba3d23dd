"""What MLflow's UI shows of the experiment: its description, and columns and charts that matter.

MLflow keeps the choice of columns and charts in each browser, and begins with none of the metrics
in the table and with all charts in the order of the alphabet. What can be given beforehand is a
shared view: a tag of the experiment, which an address that names it applies (MLflow's own button
"Share" makes the same).
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rhobeta.tracking.tags import NOTE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_KEY = "rhobeta"
VIEW_TAG = f"mlflow.sharedViewState.{_KEY}"

_COLUMNS = (
    "params.`penalty.rho`",
    "params.`penalty.beta`",
    "params.`training.seed`",
    "metrics.`test/mse`",
    "metrics.`test/gini`",
    "metrics.`probe/code_accuracy`",
    "metrics.`test/dead_units`",
)
# What MLflow adds by itself goes below these, and curves come before what is measured once.
_SECTIONS = ("overview", "validation", "train", "test", "probe", "best")


def view_link(experiment_id: str, *, charts: bool = False) -> str:
    """The address of the experiment's runs in this view, relative to the UI's."""
    mode = "&compareRunsMode=CHART" * charts
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={_KEY}{mode}"


def describe_experiment(
    client: "MlflowClient", experiment_id: str, known: Mapping[str, str]
) -> None:
    """Set the experiment's description, view and kind; `known` are the tags that it has."""
    tags = {
        # Opens the UI on the table of training runs, not on traces of language models.
        "mlflow.experimentKind": "custom_model_development",
        NOTE_TAG: _description(experiment_id),
        VIEW_TAG: json.dumps(_view()),
    }
    for tag, value in tags.items():
        # The user may have written another description; the view is the program's.
        if tag not in known or (tag == VIEW_TAG and known[tag] != value):
            client.set_experiment_tag(experiment_id, tag, value)


def _description(experiment_id: str) -> str:
    table, charts = view_link(experiment_id), view_link(experiment_id, charts=True)
    return "\n".join(
        [
            f"Sparse autoencoders, one run a training: [the columns that matter]({table}),"
            f" [their curves and charts]({charts}).",
            "",
            "- `test/`, `probe/` and the uses: measured once, on test images. `test/mse` is better"
            " low, `test/gini` and `probe/code_accuracy` are better high.",
            "- `train/` and `validation/`: curves by epoch; `best/`: validation at the epoch whose"
            " weights were kept.",
            "- `baselines/`: what the mean image and PCA of the same size reach.",
            "- A search is one run with its trials below it. `rhobeta compare RUN RUN` prints in"
            " what runs differ, with intervals over seeds.",
        ]
    )


def _view() -> dict[str, Any]:
    line = {"metricKey": "validation/mse", "xAxisKey": "step", "useGlobalXaxisKey": True}
    line |= {"lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear", "range": {}}
    axes = {
        axis: {"key": metric, "type": "METRIC"}
        for axis, metric in (("xaxis", "test/gini"), ("yaxis", "test/mse"))
    }
    return {
        "selectedColumns": _COLUMNS,
        "columnOrder": _COLUMNS,
        "compareRunCharts": [
            _chart("LINE", "curve", line),
            _chart("SCATTER", "sparsity-and-error", axes),
            _chart("BAR", "probe", {"metricKey": "probe/code_accuracy"}),
        ],
        "compareRunSections": [_section(name) for name in _SECTIONS],
        # Else the sections would be put in the order of the alphabet.
        "isAccordionReordered": True,
    }


def _chart(kind: str, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    place = {"uuid": name, "metricSectionId": _SECTIONS[0], "runsCountToCompare": 10}
    return {"type": kind, "deleted": False, "isGenerated": False, **place, **settings}


def _section(name: str) -> dict[str, Any]:
    state = {"display": True, "isReordered": False, "deleted": False, "isGenerated": True}
    return {"uuid": name, "name": name, **state}
