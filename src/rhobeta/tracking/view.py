"""What MLflow's UI shows of the experiment: its description and the columns of its table.

MLflow keeps the choice of columns in each browser, and begins without any metric. A shared view, as
its button "Share" makes one, can be given beforehand: a tag of the experiment that an address
applies. MLflow does not document the tag; without it the links show MLflow's own columns.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    "metrics.`test/probe`",
    "metrics.`test/dead_units`",
)
_DESCRIPTION = """\
Sparse autoencoders, one run a training: [the columns that matter]({link}).

- `test/` and the tasks: measured once, on test images. `test/mse` is better low,
  `test/gini` and `test/probe` are better high.
- `train/` and `validation/`: curves by epoch; `best/`: validation at the epoch whose weights were
  kept.
- `baselines/`: what the mean image and PCA of the same size reach.
- A search is one run with its trials below it. `rhobeta compare RUN RUN` prints how runs differ,
  with intervals over seeds.
"""


def view_link(experiment_id: str) -> str:
    """The address of the experiment's runs in this view, relative to the UI's."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={_KEY}"


def describe_experiment(
    client: "MlflowClient", experiment_id: str, known: Mapping[str, str]
) -> None:
    """Set the experiment's description, view and kind; `known` are the tags that it has."""
    tags = {
        # Opens the UI on the table of training runs, not on traces of language models.
        "mlflow.experimentKind": "custom_model_development",
        NOTE_TAG: _DESCRIPTION.format(link=view_link(experiment_id)),
        VIEW_TAG: json.dumps({"selectedColumns": _COLUMNS, "columnOrder": _COLUMNS}),
    }
    for tag, value in tags.items():
        # The user may have written another description; the view is the program's.
        if tag not in known or (tag == VIEW_TAG and known[tag] != value):
            client.set_experiment_tag(experiment_id, tag, value)
