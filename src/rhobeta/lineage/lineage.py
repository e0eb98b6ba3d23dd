"""What is known about a model, from every side."""

from dataclasses import dataclass, field

from rhobeta.lineage.records import Record
from rhobeta.lineage.repository import Commit, Experiment
from rhobeta.lineage.resolve import End, ModelFile


@dataclass(frozen=True)
class RawFile:
    """A file that the splits were drawn from."""

    name: str
    sha256: str
    is_published: bool | None
    """Whether it is the one that the registry names; None where that knows no digest of it."""


@dataclass(frozen=True)
class Data:
    """The data that a model was trained on."""

    name: str
    sha256: str
    splits: dict[str, str]
    """SHA-256 of each split that is known."""
    images: dict[str, int]
    raw_files: list[RawFile]


@dataclass
class Story:
    """All that is known about what was asked; what is unknown is None or empty."""

    end: End
    store: str
    has_store: bool
    sha256: str | None = None
    md5: str | None = None
    file: ModelFile | None = None
    places: list[str] = field(default_factory=list)
    """The files that hold the model."""
    in_workspace: bool = False
    data: Data | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    """Whose dvc.lock names the model."""
    experiments: list[Experiment] = field(default_factory=list)
    """Those that hold it."""
    runs: list[Record] = field(default_factory=list)
    """Of trainings, newest first; those that claim the model, or were to make it."""
    trials: list[Record] = field(default_factory=list)
    """With the same parameters and data."""
    studies: list[Record] = field(default_factory=list)
    """The runs of their studies."""
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_from: str = ""

    @property
    def code(self) -> Record | None:
        """The run that says which code trained: of the model, else of the trial."""
        return next((run for run in [*self.runs, *self.trials] if run.code is not None), None)
