"""What MLflow's UI shows of the experiment: its description and the columns of its table.

MLflow keeps the choice of columns in each browser, and begins without any metric. A shared view, as
its button "Share" makes one, can be given beforehand: a tag of the experiment that an address
applies. MLflow does not document the tag; without it the links show MLflow's own columns.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rhobeta.tracking.tags import EXPERIMENT_TAG, NOTE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_KEY = "rhobeta"
VIEW_TAG = f"mlflow.sharedViewState.{_KEY}"
CURVES = "Curves/"
"""What the names of metrics of every epoch begin with."""
SECONDS = "seconds/"
"""What the names of the stages' durations begin with, and that of their sum."""

_COLUMNS = (
    "params.`penalty.kind`",
    "params.`penalty.target`",
    "params.`penalty.rho`",
    "params.`penalty.beta`",
    "params.`training.epochs`",
    "params.`training.seed`",
    "metrics.`test/mse`",
    "metrics.`test/gini`",
    "metrics.`test/probe`",
    "metrics.`test/dead_units`",
    f"tags.`{EXPERIMENT_TAG}`",
    "attributes.`Duration`",
    f"metrics.`{SECONDS}evaluate`",
    f"metrics.`{SECONDS}total`",
)
_WIDTH = 110
# What the view of charts begins with: numbers that compare between any rho and beta, which a loss
# does not, since it includes beta times the penalty.
_BARS = ("test/mse", "test/gini", "test/probe", "test/dead_units")
_LINES = ("validation/mse", "train/mse")
_SCATTERS = (("test/gini", "test/mse"), ("test/gini", "test/probe"))
_DESCRIPTION = """\
Sparse autoencoders, one run a training: [the columns that matter]({link}).

- `test/` and the tasks: measured once, on the test split. `test/mse` is better low,
  `test/gini` and `test/probe` are better high.
- `Curves/`: training and validation by epoch; `best/`: validation at the epoch whose weights were
  kept.
- `baselines/`: what the mean image and PCA of the same size reach.
- A search is one run with its trials below it. `rhobeta compare RUN RUN` prints how runs differ,
  with intervals over seeds.
"""


def view_link(experiment_id: str) -> str:
    """The address of the experiment's runs in this view, relative to the UI's."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={_KEY}"


def curve_name(name: str) -> str:
    """The name in MLflow of a metric of every epoch.

    MLflow's pages of charts sort the groups of metrics by code point: a capital comes before the
    groups of metrics that have one value.

    >>> curve_name("train/mse")
    'Curves/train_mse'
    """
    return f"{CURVES}{name.replace('/', '_')}"


def run_page(experiment_id: str, run_id: str, part: str = "") -> str:
    """Where MLflow's UI shows a run, or a part of its page, relative to the UI."""
    return f"#/experiments/{experiment_id}/runs/{run_id}{part}"


def describe_experiment(
    client: "MlflowClient", experiment_id: str, known: Mapping[str, str]
) -> None:
    """Set the experiment's description, view and kind; `known` are the tags that it has."""
    tags = {
        # Opens the UI on the table of training runs, not on traces of language models.
        "mlflow.experimentKind": "custom_model_development",
        NOTE_TAG: _DESCRIPTION.format(link=view_link(experiment_id)),
        VIEW_TAG: json.dumps(view_state()),
    }
    for tag, value in tags.items():
        # The user may have written another description; the view is the program's.
        if tag not in known or (tag == VIEW_TAG and known[tag] != value):
            client.set_experiment_tag(experiment_id, tag, value)


def view_state() -> dict[str, Any]:
    """Columns of the table and first charts, in the form of MLflow's page."""
    section = {"uuid": "compare", "name": "Compare", "display": True, "isReordered": True}
    common = {"metricSectionId": "compare", "runsCountToCompare": 20}
    charts = [
        *({"type": "BAR", "metricKey": name, **common} for name in _BARS),
        *(
            {
                "type": "SCATTER",
                "xaxis": {"key": across, "type": "METRIC"},
                "yaxis": {"key": up, "type": "METRIC"},
                **common,
            }
            for across, up in _SCATTERS
        ),
        *(
            {"type": "LINE", "metricKey": key, "selectedMetricKeys": [key], **common}
            for key in map(curve_name, _LINES)
        ),
    ]
    return {
        "selectedColumns": _COLUMNS,
        "columnOrder": _COLUMNS,
        "columnWidths": dict.fromkeys(_COLUMNS, _WIDTH),
        "compareRunSections": [section],
        "compareRunCharts": [{"uuid": str(n), **chart} for n, chart in enumerate(charts)],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }
