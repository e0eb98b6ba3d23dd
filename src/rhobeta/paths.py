"""Every file that the project reads or writes.

Two roots, which are the same folder except in an experiment that DVC runs elsewhere:

- the *workspace*: the nearest folder with a `dvc.yaml`, from the current one upwards. It holds
  code, parameters, data, models and reports.
- the *store root*, which holds `mlruns/`. DVC names it in `DVC_ROOT`, also inside
  `dvc exp run --queue` and `--temp`, whose workspaces are deleted afterwards.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from rhobeta.errors import RhobetaError


@dataclass(frozen=True)
class Paths:
    """The project's files, relative to one workspace and one store root."""

    workspace: Path
    store_root: Path

    @property
    def params(self) -> Path:
        """`params.yaml`, every parameter."""
        return self.workspace / "params.yaml"

    @property
    def presets(self) -> Path:
        """The presets, parameter overlays by name."""
        return self.workspace / "presets"

    @property
    def own_data(self) -> Path:
        """The folder for the user's own data set (`data.name: own`)."""
        return self.workspace / "data" / "own"

    @property
    def raw_data(self) -> Path:
        """Verified IDX files, written by `download`."""
        return self.workspace / "data" / "raw"

    @property
    def splits(self) -> Path:
        """Splits as safetensors and their manifest, written by `preprocess`."""
        return self.workspace / "data" / "processed"

    @property
    def model(self) -> Path:
        """The best weights with their description, written by `train`."""
        return self.workspace / "models" / "autoencoder.safetensors"

    @property
    def plots(self) -> Path:
        """Small tables that DVC draws."""
        return self.workspace / "reports" / "plots"

    @property
    def history(self) -> Path:
        """Metrics of each epoch, written by `train`."""
        return self.plots / "history.csv"

    @property
    def unit_activity(self) -> Path:
        """Mean activity of each unit on the test split, sorted, written by `evaluate`."""
        return self.plots / "unit_activity.csv"

    @property
    def l0_distribution(self) -> Path:
        """How many units are active for how many test images, written by `evaluate`."""
        return self.plots / "l0_distribution.csv"

    @property
    def rate_distortion(self) -> Path:
        """Bits and error of code, PCA and JPEG by setting, written by `evaluate`."""
        return self.plots / "rate_distortion.csv"

    @property
    def metrics(self) -> Path:
        """The headline numbers that DVC compares, written by `evaluate`."""
        return self.workspace / "reports" / "metrics.json"

    @property
    def details(self) -> Path:
        """All test metrics, baselines and verdicts, written by `evaluate`."""
        return self.workspace / "reports" / "details.json"

    @property
    def evaluation(self) -> Path:
        """Arrays of the test split for `visualize`, written by `evaluate`."""
        return self.workspace / "reports" / "evaluation.safetensors"

    @property
    def figures(self) -> Path:
        """PNG figures, written by `visualize`."""
        return self.workspace / "reports" / "figures"

    @property
    def report(self) -> Path:
        """The self-contained HTML report, written by `visualize`."""
        return self.workspace / "reports" / "report.html"

    @property
    def dashboard(self) -> Path:
        """The self-contained HTML page of all units, written by `visualize`."""
        return self.workspace / "reports" / "dashboard.html"

    @property
    def comparison(self) -> Path:
        """The self-contained HTML page of the last comparison, written by `rhobeta compare`."""
        return self.workspace / "reports" / "compare.html"

    @property
    def tuning(self) -> Path:
        """Table and pictures of the search, written by `rhobeta tune` and `rhobeta tune show`."""
        return self.workspace / "reports" / "tuning"

    @property
    def store(self) -> Path:
        """MLflow's database and artifacts."""
        return self.store_root / "mlruns"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of interrupted trainings, one folder each."""
        return self.store / "checkpoints"


def find_paths(start: Path | None = None) -> Paths:
    """Locate the workspace from `start` (default: the current folder) and the store root.

    Raises `RhobetaError` outside a project.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return Paths(workspace=folder, store_root=Path(os.environ.get("DVC_ROOT", folder)))
    raise RhobetaError(
        f"No dvc.yaml in {start} or above it: this is not inside an rhobeta project.\n"
        "Change into the folder that `git clone` made and run the command again."
    )
