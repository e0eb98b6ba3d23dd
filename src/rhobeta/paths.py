"""Every file that the project reads or writes.

Two roots, which are the same folder except in an experiment that DVC runs elsewhere:

- the *workspace*: the nearest folder with `dvc.yaml` and `params.yaml`, from the current one
  upwards. It holds code, parameters, data, models and reports.
- the *store root*, which holds `mlruns/`. DVC names it in `DVC_ROOT`, also inside
  `dvc exp run --queue` and `--temp`, whose workspaces are deleted afterwards.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator
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
    def baselines(self) -> Path:
        """What is reached on the data without a model, written by `preprocess`."""
        return self.workspace / "data" / "baselines.safetensors"

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

    def given(self, path: str) -> Path:
        """A path in `params.yaml` or the environment: `~` is the home folder.

        A relative one is relative to the store root, not to the current folder or to a temporary
        workspace of DVC.
        """
        return self.store_root / os.path.expanduser(path)  # noqa: PTH111 - as for `_searched`

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

    Raises `RhobetaError` as `find_workspace` does.
    """
    workspace = find_workspace(start)
    return Paths(workspace=workspace, store_root=Path(os.environ.get("DVC_ROOT", workspace)))


def find_workspace(start: Path | None = None) -> Path:
    """The nearest project from `start` (default: the current folder) upwards.

    A project has `dvc.yaml` and, beside it, `params.yaml` or `src`. Its code is executed, so the
    search ends at the boundary of the file system and at the home folder.

    Raises `RhobetaError` where there is no project, and where it belongs to another user.
    """
    try:
        start = (start or Path.cwd()).resolve()
    except FileNotFoundError:
        raise RhobetaError("The current folder was deleted: change into a project.") from None
    last = start
    for last in _searched(start):
        if (last / "dvc.yaml").is_file() and any((last / name).exists() for name in _BESIDE):
            _require_owner(last)
            return last
    raise RhobetaError(
        f"{start} is not inside an rhobeta project: no folder from there up to {last} has dvc.yaml"
        " and params.yaml.\nChange into the folder that `git clone` made and run the command again."
    )


_BESIDE = ("params.yaml", "src")
_EXECUTED = (".", "dvc.yaml", "src", "src/rhobeta", "extensions")


def _searched(start: Path) -> Iterator[Path]:
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111 - Path.home() may raise
    device = start.stat().st_dev
    for folder in (start, *start.parents):
        if folder.stat().st_dev != device:
            return
        yield folder
        if folder == home:
            return


def _require_owner(workspace: Path) -> None:
    """Raise `RhobetaError` unless the project is this user's or root's, or git calls it safe."""
    trusted = {0, os.geteuid()}
    executed = [workspace / name for name in _EXECUTED]
    for path in (*executed, *(workspace / "extensions").glob("*.py")):
        # Of a link: its own, and that of what it leads to.
        owners = {path.lstat().st_uid, path.stat().st_uid} if path.exists() else set()
        if (others := owners - trusted) and not _safe_for_git(workspace):
            raise RhobetaError(
                f"{path} belongs to another user (id {min(others)}), whose code would"
                " run.\nIf you trust it: git config --global --add safe.directory"
                f" {shlex.quote(str(workspace))}"
            )


def _safe_for_git(workspace: Path) -> bool:
    command = ["git", "config", "--null", "--get-all", "safe.directory"]
    try:
        # From the root folder, so that the configuration of no repository is read.
        listed = subprocess.run(command, cwd="/", capture_output=True, check=False).stdout
    except OSError:
        return False
    # An empty value cancels those before it.
    values = os.fsdecode(listed).rpartition("\0\0")[2].split("\0")
    return "*" in values or str(workspace) in values
