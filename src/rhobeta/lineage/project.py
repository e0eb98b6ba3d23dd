"""What one command can look into: the workspace, git and DVC, and the MLflow store."""

from dataclasses import dataclass
from functools import cached_property

from rhobeta.config.params import Params, load_params
from rhobeta.lineage.repository import Repository
from rhobeta.lineage.runs import Runs
from rhobeta.paths import Paths
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.store import find_store, store_uri


@dataclass(frozen=True)
class Project:
    """A project; the store is opened at the first look into it, and never changed."""

    checked: Params | None
    """The parameters; None: they are read where they are needed."""
    paths: Paths

    @cached_property
    def params(self) -> Params:
        """The parameters. Raises `RhobetaError` where `params.yaml` is refused."""
        return self.checked or load_params(self.paths.params)

    @cached_property
    def runs(self) -> Runs:
        """The runs of the store. Raises `RhobetaError` where it does not answer."""
        return Runs(find_store(self.paths))

    @cached_property
    def repository(self) -> Repository:
        """The git repository of the workspace and its DVC cache."""
        return Repository(self.paths.workspace)

    @property
    def place(self) -> str:
        """The address of the store, without a password."""
        return without_password(store_uri(self.paths))
