"""The instructions for a worker process."""

from dataclasses import dataclass

from rhobeta.config.params import Params
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import Code


@dataclass(frozen=True)
class TuningJob:
    """What a worker process is told; it reads everything else itself."""

    params: Params
    paths: Paths
    url: str
    """Address of the studies' database, with its password."""
    study: str
    """Name of the study, or of the one that repeats its front."""
    study_id: str
    parent_run: str
    """MLflow run of the study."""
    code: Code
    asked: int
    """Finished trials that the study is to have."""
    repeats: bool
    """Whether to run queued trials only, each with a seed of its own."""
    threads: int
    """CPU threads of a worker."""
