"""The run of a training: its name, its tags, its data."""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.data.splits import Manifest, SplitName
from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS
from rhobeta.tracking.provenance import Code, experiment_tags, user_name, versions
from rhobeta.tracking.run import Run, find_unfinished_run, new_run, reopened_run
from rhobeta.tracking.store import Store
from rhobeta.tracking.tags import (
    COMMAND_TAG,
    DATA_TAG,
    MODEL_MD5_TAG,
    MODEL_TAG,
    NOTE_TAG,
    STAGE_TAG,
    VERSIONS_TAG,
)
from rhobeta.tracking.view import SECONDS
from rhobeta.utils.files import md5_of_bytes, sha256_of_bytes

if TYPE_CHECKING:
    from rhobeta.training.fit import Trained


_INPUTS: tuple[tuple[SplitName, str], ...] = (("train", "training"), ("validation", "validation"))


def run_name(parameters: Mapping[str, Any]) -> str:
    """The penalty and the model, after the name of DVC's experiment if there is one.

    `parameters` are by dotted path.
    """
    sizes = "-".join(str(size) for size in parameters["model.hidden_sizes"])
    model = f"{parameters['data.name']} {sizes} {parameters['model.code_activation']}"
    penalty = _penalty(parameters)
    prefix = f"{experiment}: " if (experiment := os.environ.get("DVC_EXP_NAME")) else ""
    # The penalty first, since tables cut names off.
    return f"{prefix}{penalty}, {model}"


def describe(
    parameters: Mapping[str, Any], command: str | None, results: str = "", links: str = ""
) -> str:
    """The description of a run, two lines of Markdown: what it is, and the way to more.

    `parameters` are by dotted path, as values or as MLflow's texts; `command` repeats the run.
    """
    units = str(parameters["model.hidden_sizes"]).strip("[]").rpartition(",")[2].strip()
    what = (
        f"{units} {parameters['model.code_activation']} units on {parameters['data.name']},"
        f" {_penalty(parameters)}, {parameters['training.epochs']} epochs."
    )
    repeat = "" if command is None else f"Repeat: `{command}`"
    lines = (f"{what} {results}", f"{links} {repeat}")
    return "\n\n".join(line.strip() for line in lines if line.strip())


def _penalty(parameters: Mapping[str, Any]) -> str:
    kind, code = parameters["penalty.kind"], parameters["model.code_activation"]
    words = [f"k={parameters['topk.k']}"] if ACTIVATION_SPECS[code].takes_k else []
    if kind == "none":
        return " ".join(words) or "no penalty"
    if kind != "kl":
        words.append(kind)
    # As values or as MLflow's texts; runs of earlier versions have no target.
    if (target := parameters.get("penalty.target")) not in (None, "None"):
        above = parameters["penalty.target_above"]
        words.append(f"target={float(target):g}")
        return " ".join(words if above in (None, "None") else [*words, f"above {above}"])
    if PENALTY_SPECS[kind].uses_rho:
        words.append(f"rho={float(parameters['penalty.rho']):g}")
    return " ".join([*words, f"beta={float(parameters['penalty.beta']):g}"])


def training_tags(code: Code, manifest: Manifest) -> dict[str, str]:
    """Identity of data and code, and DVC's experiment."""
    return {
        "mlflow.user": user_name(),
        "mlflow.source.name": "rhobeta train",
        "mlflow.source.type": "LOCAL",
        STAGE_TAG: "train",
        DATA_TAG: manifest.sha256,
        **code.tags,
        **experiment_tags(),
    }


def model_tags(content: bytes) -> dict[str, str]:
    """The digests of a model's bytes: SHA-256, and the MD5 in dvc.lock."""
    return {MODEL_TAG: sha256_of_bytes(content), MODEL_MD5_TAG: md5_of_bytes(content)}


def outcome_tags(trained: "Trained") -> dict[str, str]:
    """Where a model was trained, and its epoch."""
    return {
        "rhobeta.device": trained.device,
        "rhobeta.world_size": str(trained.world_size),
        "rhobeta.best_epoch": str(trained.best_epoch),
    }


@contextmanager
def training_run(
    store: Store, earlier: str | None, parameters: Mapping[str, Any], code: Code, manifest: Manifest
) -> Iterator[Run]:
    """Open a new run for a training, or the `earlier` run of an interrupted one.

    It ends according to how the body ends. `parameters` are by dotted path.
    """
    tags = {
        **training_tags(code, manifest),
        COMMAND_TAG: code.command,
        VERSIONS_TAG: versions(),
        NOTE_TAG: describe(parameters, code.command),
    }
    found = None if earlier is None else find_unfinished_run(store, earlier)
    opened = (
        new_run(store, name=run_name(parameters), tags=tags)
        if found is None
        else reopened_run(found, tags=tags | {"rhobeta.resumed": "true"})
    )
    with opened as run:
        if found is None:
            log_training_data(run, manifest)
        if code.diff:
            run.log_bytes(code.diff, "code/uncommitted.diff")
        yield run
        run.log_metrics({f"{SECONDS}train": run.seconds()})


def history_of_model(
    path: Path, best_epoch: int, best_loss: float
) -> tuple[str, list[dict[str, float]]] | None:
    """The text and the rows of `history.csv`; None if it is absent or another model's.

    It is the model's if its loss at the best epoch is the model's.
    """
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    table = csv.DictReader(io.StringIO(text))
    try:
        rows = [{k: float(v) for k, v in row.items() if v != ""} for row in table]
        best = next(row for row in rows if row["epoch"] == best_epoch)
        found = best.get("validation_loss", best["train_loss"])
    except (ValueError, TypeError, KeyError, StopIteration):
        return None
    return (text, rows) if abs(found - best_loss) <= 1e-6 * abs(best_loss) else None


def log_training_data(run: Run, manifest: Manifest) -> None:
    """Log the train and validation splits as the run's inputs."""
    for split, context in _INPUTS:
        if manifest.splits[split]["images"]:
            log_split(run, manifest, split, context)


def log_split(run: Run, manifest: Manifest, split: SplitName, context: str) -> str:
    """Log one split as an input of the run in `context` (training, validation, evaluation).

    Returns the name that it has there.
    """
    facts = manifest.splits[split]
    name = f"{manifest.parameters['data.name']}-{split}"
    run.log_dataset(
        name=name,
        digest=manifest.digest(split),
        context=context,
        source=json.dumps({"uri": f"data/processed/{split}.safetensors"}),
        profile=json.dumps(
            {
                "images": facts["images"],
                "sample_shape": list(manifest.sample_shape),
                "per_class": facts["per_class"],
            }
        ),
    )
    return name
