"""The copy of the report that a run holds: with run, code, times and versions.

DVC hashes the report, so the report itself holds none of them, only the place for them.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from rhobeta.tracking.run import latest_parameters
from rhobeta.tracking.tags import (
    BASELINE_TAG,
    BRANCH_TAG,
    COMMAND_TAG,
    COMMIT_TAG,
    DIRTY_TAG,
    EXPERIMENT_TAG,
    RESTORED_TAG,
    VERSIONS_TAG,
)
from rhobeta.tracking.view import SECONDS

if TYPE_CHECKING:
    from mlflow.entities import Run as RunEntity

PLACE = "<!-- provenance -->"
"""Where the report has room for the table."""


def with_provenance(report: str, run: "RunEntity") -> str:
    """The HTML of the report with a table of the run's provenance and all its parameters."""
    parameters = _table(sorted(latest_parameters(run).items()))
    table = (
        f"{_table(_facts(run))}<details><summary>All parameters of the run</summary>{parameters}"
        "</details>"
    )
    return report.replace(PLACE, table, 1)


def _facts(run: "RunEntity") -> Iterator[tuple[str, str]]:
    info, tags = run.info, run.data.tags
    yield "run", f"{info.run_name} ({info.run_id})"
    if info.start_time:
        yield (
            "started",
            datetime.fromtimestamp(info.start_time / 1000, UTC).isoformat(" ", "seconds"),
        )
    if tags.get(RESTORED_TAG) == "true":
        yield "restored", "from the model's file, which does not know its code and its training"
    if COMMIT_TAG in tags:
        dirty = ", with uncommitted changes" if tags.get(DIRTY_TAG) == "true" else ""
        yield "commit", f"{tags[COMMIT_TAG]} ({tags.get(BRANCH_TAG, '')}{dirty})"
    named = {
        "DVC experiment": EXPERIMENT_TAG,
        "its baseline": BASELINE_TAG,
        "repeat it": COMMAND_TAG,
        "device": "rhobeta.device",
        "processes": "rhobeta.world_size",
        "versions": VERSIONS_TAG,
    }
    yield from ((name, tags[tag]) for name, tag in named.items() if tag in tags)
    for data in run.inputs.dataset_inputs if run.inputs else ():
        digest = next((tag.value for tag in data.tags if tag.key == "sha256"), data.dataset.digest)
        yield f"data, {data.dataset.name}", f"SHA-256 {digest}"
    if durations := _durations(run.data.metrics):
        yield "duration", durations


def _durations(metrics: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {metrics[key]:.1f} s"
        for name in ("train", "evaluate", "visualize", "total")
        if (key := f"{SECONDS}{name}") in metrics
    )


def _table(rows: "Iterator[tuple[str, str]] | list[tuple[str, str]]") -> str:
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(value)}</code></td></tr>"
        for name, value in rows
    )
    return f"<table><tbody>{cells}</tbody></table>"
