"""A story as text for people, and as plain data."""

from collections.abc import Iterator, Mapping
from typing import Any

from rhobeta.lineage.lineage import Story
from rhobeta.lineage.missing import Missing
from rhobeta.lineage.records import Record

# What tells most models apart; `--all` shows the others.
_PARAMETERS = (
    "data.name",
    "model.hidden_sizes",
    "model.code_activation",
    "penalty.kind",
    "penalty.rho",
    "penalty.beta",
    "topk.k",
    "training.epochs",
    "training.batch_size",
    "training.learning_rate",
    "training.seed",
)
_METRICS = (
    "test/mse",
    "test/fvu",
    "test/gini",
    "test/rho_hat_mean",
    "test/dead_units",
    "probe/code_accuracy",
    "best/mse",
    "best/fvu",
    "best/gini",
    "best/dead_share",
    "best/probe_accuracy",
)


def as_text(
    story: Story, missing: list[Missing], notes: list[str], *, everything: bool = False
) -> str:
    """The chain in lines, from the data to the metrics, and what it lacks."""
    lines = [("", f"{story.end.kind} {story.end.name}"), *_model(story), *_data(story)]
    lines += [
        *_parameters(story, everything),
        *_code(story),
        *_holders(story),
        *_runs(story),
        *_trials(story),
        *_metrics(story, everything),
    ]
    lines += [("note", note) for note in notes]
    for link in missing:
        lines += [("missing", link.link), ("", f"-> {link.remedy}")]
    if not missing:
        lines.append(("missing", "nothing"))
    shown, before = [], ""
    for name, text in lines:
        shown.append(f"{'' if name == before else name:<11} {text}".rstrip())
        before = name or before
    shown[0] = shown[0].strip()
    return "\n".join(shown)


def as_data(story: Story, missing: list[Missing], notes: list[str]) -> dict[str, Any]:
    """The same, whole, as values that JSON has."""
    data, description = story.data, {} if story.file is None else story.file.description
    code = story.code
    return {
        "asked": {"kind": story.end.kind, "name": story.end.name},
        "model": {
            "sha256": story.sha256,
            "md5": story.md5,
            "files": story.places,
            "best_epoch": description.get("best_epoch"),
            "best_loss": description.get("best_loss"),
        },
        "data": None
        if data is None
        else {
            "name": data.name,
            "sha256": data.sha256,
            "splits": data.splits,
            "images": data.images,
            "raw_files": [vars(file) for file in data.raw_files],
        },
        "parameters": story.parameters,
        "code": None if code is None else _code_as_data(code),
        "commits": [vars(commit) for commit in story.commits],
        "experiments": [vars(experiment) for experiment in story.experiments],
        "store": story.store,
        "runs": [_record_as_data(run) for run in story.runs],
        "trials": [_record_as_data(trial) for trial in story.trials],
        "studies": [_record_as_data(study) for study in story.studies],
        "metrics": story.metrics,
        "notes": notes,
        "missing": [vars(link) for link in missing],
    }


def _model(story: Story) -> Iterator[tuple[str, str]]:
    if story.sha256 is None and story.md5 is None:
        return
    yield "model", f"SHA-256 {story.sha256 or 'unknown'}"
    yield "model", f"MD5 {story.md5 or 'unknown'} (as DVC knows it)"
    if story.file is not None:
        described = story.file.description
        yield "model", f"of epoch {described['best_epoch']}, loss {described['best_loss']:.6g}"
    for place in story.places:
        yield "model", f"in {place}"


def _data(story: Story) -> Iterator[tuple[str, str]]:
    if story.data is None:
        return
    yield "data", f"{story.data.name or 'unnamed'}, SHA-256 {story.data.sha256}"
    for split, digest in story.data.splits.items():
        count = story.data.images.get(split)
        images = "" if count is None else f", {count:,} images"
        yield "data", f"{split} {digest[:16]}...{images}"
    words = {True: ", as published", False: ", NOT the published one", None: ""}
    for file in story.data.raw_files:
        yield "data", f"from {file.name}, SHA-256 {file.sha256[:16]}...{words[file.is_published]}"


def _parameters(story: Story, everything: bool) -> Iterator[tuple[str, str]]:
    shown = _chosen(story.parameters, _PARAMETERS, everything=everything)
    for name, value in shown.items():
        yield "parameters", f"{name} = {value}"
    if len(shown) < len(story.parameters):
        yield "parameters", f"and {len(story.parameters) - len(shown)} more: --all"


def _code(story: Story) -> Iterator[tuple[str, str]]:
    if story.code is None or story.code.code is None:
        return
    commit, branch, dirty = story.code.code
    state = "with changes that were not committed" if dirty else "nothing uncommitted"
    yield "code", f"commit {commit}"
    # What DVC runs elsewhere is on no branch.
    where = "" if branch in ("", "HEAD") else f"branch {branch}, "
    yield "code", f"{where}{state}; says run {story.code.id}"


def _holders(story: Story) -> Iterator[tuple[str, str]]:
    for commit in story.commits:
        yield "in git", f"commit {commit.id[:12]} {commit.subject}"
    for experiment in story.experiments:
        yield "experiment", f"{experiment.name}, from {experiment.baseline[:12]} (DVC)"


def _runs(story: Story) -> Iterator[tuple[str, str]]:
    for run in story.runs:
        restored = ", restored" if run.is_restored else ""
        yield "run", f"{run.id} {run.status}{restored}, {run.started}"
        yield "run", f"  {run.name}"
        if run.dvc_experiment is not None:
            baseline = f", from {run.baseline[:12]}" if run.baseline else ""
            yield "run", f"  in the DVC experiment {run.dvc_experiment}{baseline}"
    if story.has_store:
        experiments = dict.fromkeys(r.experiment for r in [*story.runs, *story.trials])
        where = f", experiment {', '.join(experiments)}" if experiments else ""
        yield "store", f"{story.store}{where}"


def _trials(story: Story) -> Iterator[tuple[str, str]]:
    for trial in story.trials:
        study, number = trial.trial or ("", 0)
        yield "trial", f"{number} of study {study}: run {trial.id} {trial.status}"
    if story.end.trial is not None:
        yield "trial", f"{story.end.trial.number} of study {story.end.trial.study}:"
        yield "trial", f"  {story.end.trial.state}; run {story.end.trial.run_id or 'unknown'}"
    for parent in story.studies:
        chosen = parent.tags.get("rhobeta.chosen_trial")
        words = "" if chosen is None else f", which chose trial {chosen}"
        yield "study", f"{parent.study}: run {parent.id} {parent.status}{words}"


def _metrics(story: Story, everything: bool) -> Iterator[tuple[str, str]]:
    for name, value in _chosen(story.metrics, _METRICS, everything=everything).items():
        yield "metrics", f"{name} = {value:.6g}"
    if story.metrics_from and story.metrics:
        yield "metrics", f"of {story.metrics_from}"


def _chosen(values: Mapping[str, Any], names: tuple[str, ...], *, everything: bool) -> Any:
    if everything:
        return dict(values)
    return {name: values[name] for name in names if name in values}


def _code_as_data(record: Record) -> dict[str, Any]:
    commit, branch, dirty = record.code or ("", "", False)
    return {"commit": commit, "branch": branch, "dirty": dirty, "run": record.id}


def _record_as_data(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "status": record.status,
        "stage": record.stage,
        "restored": record.is_restored,
        "experiment": record.experiment,
        "started": record.started,
        "model_sha256": record.model_sha256,
        "data_sha256": record.data_sha256,
        "code": None if record.code is None else _code_as_data(record),
        "dvc_experiment": record.dvc_experiment,
        "baseline": record.baseline,
        "study": record.study,
        "trial": None if record.trial is None else record.trial[1],
        "parent": record.parent,
    }
