"""`rhobeta trace`: the lineage of one thing as text or as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rhobeta.lineage.lineage import Lineage
from rhobeta.lineage.missing import missing_links, notes
from rhobeta.lineage.project import Project
from rhobeta.lineage.resolve import resolve
from rhobeta.lineage.runs import RunInfo
from rhobeta.utils.terminal import one_line

# What distinguishes most models; `--all` prints the others too.
_PARAMETERS = (
    "data.name", "model.hidden_sizes", "model.code_activation", "penalty.kind", "penalty.target",
    "penalty.rho", "penalty.beta", "topk.k", "training.epochs", "training.batch_size",
    "training.learning_rate", "training.noise", "training.seed",
)  # fmt: skip
_METRICS = (
    "test/mse", "test/fvu", "test/gini", "test/rho_hat_mean", "test/dead_units",
    "test/probe", "best/mse", "best/fvu", "best/gini", "best/dead_share",
    "best/probe",
)  # fmt: skip

Rows = Iterator[tuple[str, str]]


def trace(word: str, project: Project, *, everything: bool = False, as_json: bool = False) -> None:
    """Print the lineage of what `word` names. Nothing is written.

    Raises `RhobetaError` where the word is unknown or ambiguous, and where the store cannot be
    read.
    """
    lineage = Lineage(resolve(word, project), project)
    if as_json:
        print(json.dumps(as_data(lineage), indent=2))
    else:
        print(as_text(lineage, everything=everything))


def as_text(lineage: Lineage, *, everything: bool) -> str:
    """The lineage in lines, from the model to the metrics, and what is missing."""
    reference = lineage.reference
    rows = [
        *_model_rows(lineage),
        *_data_rows(lineage),
        *_value_rows("parameters", lineage.parameters, _PARAMETERS, everything),
        *_code_rows(lineage),
        *_run_rows(lineage),
        *_trial_rows(lineage),
        *_value_rows("metrics", lineage.metrics, _METRICS, everything),
    ]
    if lineage.metrics and lineage.metrics_from:
        rows.append(("metrics", f"of {lineage.metrics_from}"))
    rows += [("note", note) for note in notes(lineage)]
    missing = missing_links(lineage)
    for record in missing:
        rows += [("missing", record.link), ("missing", f"-> {record.remedy}")]
    rows += [] if missing else [("missing", "nothing")]
    lines, before = [one_line(f"{reference.kind} {reference.name}")], ""
    for name, text in rows:
        lines.append(one_line(f"{'' if name == before else name:<11} {text}".rstrip()))
        before = name
    return "\n".join(lines)


def as_data(lineage: Lineage) -> dict[str, Any]:
    """The whole lineage as values that JSON has."""
    described = {} if lineage.file is None else lineage.file.description
    code, data = lineage.code, lineage.data
    return {
        "asked": {"kind": lineage.reference.kind, "name": lineage.reference.name},
        "model": {
            "sha256": lineage.sha256,
            "md5": lineage.md5,
            "files": lineage.places,
            "best_epoch": described.get("best_epoch"),
            "best_loss": described.get("best_loss"),
        },
        "data": None if data is None else asdict(data),
        "code": None if code is None else _code(code),
        "parameters": lineage.parameters,
        "metrics": lineage.metrics,
        "store": lineage.project.place,
        "notes": notes(lineage),
        **{
            name: [asdict(part) for part in getattr(lineage, name)]
            for name in ("commits", "experiments")
        },
        **{
            name: [_run(run) for run in getattr(lineage, name)]
            for name in ("runs", "trials", "studies")
        },
        "missing": [asdict(link) for link in missing_links(lineage)],
    }


def _code(run: RunInfo) -> dict[str, Any]:
    return {"commit": run.commit, "branch": run.branch, "dirty": run.dirty, "run": run.id}


def _run(run: RunInfo) -> dict[str, Any]:
    names = (
        "id", "name", "status", "stage", "restored", "experiment", "started", "model_sha256",
        "data_sha256", "dvc_experiment", "baseline", "study", "trial", "parent",
    )  # fmt: skip
    values = {name: getattr(run, name) for name in names}
    return {**values, "code": _code(run) if run.commit else None}


def _model_rows(lineage: Lineage) -> Rows:
    if lineage.sha256 is None and lineage.md5 is None:
        return
    yield "model", f"SHA-256 {lineage.sha256 or 'unknown'}"
    yield "model", f"MD5 {lineage.md5 or 'unknown'} (as DVC knows it)"
    if lineage.file is not None:
        described = lineage.file.description
        yield "model", f"of epoch {described['best_epoch']}, loss {described['best_loss']:.6g}"
    for place in lineage.places:
        yield "model", f"in {place}"


def _data_rows(lineage: Lineage) -> Rows:
    data = lineage.data
    if data is None:
        return
    yield "data", f"{data.name or 'unnamed'}, SHA-256 {data.sha256}"
    for split, digest in data.splits.items():
        count = f", {data.counts[split]:,} {data.kind}" if split in data.counts else ""
        yield "data", f"{split} {digest[:16]}...{count}"
    words = {True: ", as published", False: ", NOT the published one", None: ""}
    for file in data.raw_files:
        yield "data", f"from {file.name}, SHA-256 {file.sha256[:16]}...{words[file.is_published]}"


def _value_rows(
    title: str, values: Mapping[str, Any], names: tuple[str, ...], everything: bool
) -> Rows:
    shown = [name for name in (values if everything else names) if name in values]
    for name in shown:
        value = values[name]
        yield title, f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {value}"
    if len(shown) < len(values):
        yield title, f"and {len(values) - len(shown)} more: --all"


def _code_rows(lineage: Lineage) -> Rows:
    code = lineage.code
    if code is not None:
        # DVC runs experiments in temporary folders on no branch.
        branch = "" if code.branch in ("", "HEAD") else f"branch {code.branch}, "
        state = "with uncommitted changes" if code.dirty else "nothing uncommitted"
        yield "code", f"commit {code.commit}"
        yield "code", f"{branch}{state}; says run {code.id}"
    for commit in lineage.commits:
        yield "in git", f"commit {commit.id[:12]} {commit.subject}"
    for experiment in lineage.experiments:
        yield "experiment", f"{experiment.name}, from {experiment.baseline[:12]} (DVC)"


def _run_rows(lineage: Lineage) -> Rows:
    for run in lineage.runs:
        restored = ", restored" if run.restored else ""
        yield "run", f"{run.id} {run.status}{restored}, {run.started}"
        yield "run", f"  {run.name}"
        if run.dvc_experiment is not None:
            baseline = f", from {run.baseline[:12]}" if run.baseline else ""
            yield "run", f"  in the DVC experiment {run.dvc_experiment}{baseline}"
    if lineage.project.runs.store is not None:
        names = dict.fromkeys(run.experiment for run in [*lineage.runs, *lineage.trials])
        experiments = f", experiment {', '.join(names)}" if names else ""
        yield "store", f"{lineage.project.place}{experiments}"


def _trial_rows(lineage: Lineage) -> Rows:
    for run in lineage.trials:
        yield "trial", f"{run.trial} of study {run.study}: run {run.id} {run.status}"
    for study in lineage.studies:
        chosen = study.chosen_trial
        words = "" if chosen is None else f", which chose trial {chosen}"
        yield "study", f"{study.study}: run {study.id} {study.status}{words}"
