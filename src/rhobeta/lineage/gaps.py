"""What the run of a model can lack of what the workspace holds of that model."""

from enum import Enum

from rhobeta.lineage.artifacts import Belongings
from rhobeta.lineage.runs import RunInfo, Runs
from rhobeta.utils.files import sha256_of_file


class Gap(Enum):
    """One thing that a run lacks, by the words that tell of it."""

    MODEL = "the model"
    NAME = "the MD5 of the model"
    PARAMETERS = "the parameters"
    HISTORY = "the history"
    DATA = "the data"
    EVALUATION = "the evaluation"
    FIGURES = "the figures"


def gaps_of(record: RunInfo, records: Runs, belongings: Belongings) -> list[Gap]:
    """What `record`, one of `records`, lacks, in the order in which it is added."""
    lacking = {
        Gap.MODEL: not records.has_package(record),
        Gap.NAME: record.model_md5 is None,
        Gap.PARAMETERS: not record.hparams,
        Gap.HISTORY: belongings.history
        and not any(name.startswith("train/") for name in record.metrics),
        Gap.DATA: belongings.manifest is not None and "training" not in record.splits,
        Gap.EVALUATION: belongings.metrics is not None
        and record.metrics_sha256 != sha256_of_file(belongings.metrics),
        Gap.FIGURES: belongings.report is not None
        and record.report_sha256 != sha256_of_file(belongings.report),
    }
    return [gap for gap, is_lacking in lacking.items() if is_lacking]
