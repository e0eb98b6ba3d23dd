"""What `evaluate` measured, as `visualize` reads it: of one model, and all of one evaluation."""

from rhobeta.errors import RhobetaError
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.paths import Paths
from rhobeta.utils.files import require_file, sha256_of_file

_MADE_BY = "rhobeta evaluate"


def digests_of_measured(model_sha256: str, paths: Paths) -> dict[str, str]:
    """SHA-256 of the model and of the tables that go with an evaluation of it, by file name."""
    tables = (paths.metrics, paths.rate_distortion)
    digests = {path.name: sha256_of_file(require_file(path, made_by=_MADE_BY)) for path in tables}
    return {paths.model.name: model_sha256, **digests}


def read_record(model_sha256: str, paths: Paths) -> TestRecord:
    """Read the record of the test split.

    Raises `RhobetaError` where it is missing or damaged, where it was made with another model,
    and where the tables beside it are not those that were written with it.
    """
    content = require_file(paths.evaluation, made_by=_MADE_BY).read_bytes()
    record = TestRecord.from_bytes(content, name=str(paths.evaluation))
    for name, found in digests_of_measured(model_sha256, paths).items():
        expected = record.belongs_to.get(name, "none")
        if found != expected:
            raise RhobetaError(
                f"{paths.evaluation} was made with another {name} (SHA-256 {expected[:16]}...,"
                f" found {found[:16]}...): one of them is damaged, or from another run.\n"
                "Run `dvc repro --force evaluate` to measure the present model anew."
            )
    return record
