"""The tags by which runs are found and told apart: our own, DVC's, and MLflow's for code."""

STAGE_TAG = "rhobeta.stage"
"""What the run is of: train, restored, trial or tune."""
MODEL_TAG = "rhobeta.model_sha256"
MODEL_MD5_TAG = "rhobeta.model_md5"
"""The model as DVC's lock knows it."""
DATA_TAG = "rhobeta.data_sha256"
RESTORED_TAG = "rhobeta.restored"
"""Of a run that was made anew from a model that came out of a cache."""

EXPERIMENT_TAG = "dvc.exp_name"
BASELINE_TAG = "dvc.baseline_rev"

COMMIT_TAG = "mlflow.source.git.commit"
BRANCH_TAG = "mlflow.source.git.branch"
DIRTY_TAG = "mlflow.source.git.dirty"
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"
