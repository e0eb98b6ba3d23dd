"""Whole commands in processes of their own: time, and peak memory of the stages."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.epoch import spinning
from benchmarks.projects import RUNS, commit_id, full_project
from benchmarks.table import Bench, Row, ratio_row, seconds_row

STAGES = ("download", "preprocess", "train", "evaluate", "visualize")


def evaluate(bench: Bench) -> list[Row]:
    """The stage `evaluate` with all tasks scored."""
    with full_project(bench.paths, runs=0) as (place, _):
        return [_row(bench, "`rhobeta evaluate`", ["evaluate"], place.workspace, 15, rounds=3)]


def repro(bench: Bench) -> list[Row]:
    """`dvc repro` with nothing to do."""
    samples = bench.in_turns(
        {"dvc repro": lambda: [timed(["dvc", "repro"], bench.paths.workspace)[0]]}
    )
    return [seconds_row("`dvc repro` with nothing to do", samples["dvc repro"], 0.8)]


def show_help(bench: Bench) -> list[Row]:
    """`rhobeta --help`."""
    return [_row(bench, "`rhobeta --help`", ["--help"], bench.paths.workspace, 0.3)]


def trace(bench: Bench) -> list[Row]:
    """`rhobeta trace` of a model file in a store of 1,000 other runs."""
    with full_project(bench.paths) as (place, _):
        what = f"`rhobeta trace` of a model file, {RUNS:,} runs"
        return [_row(bench, what, ["trace", str(place.model)], place.workspace, 3)]


def lineage(bench: Bench) -> list[Row]:
    """The other commands of the lineage in such a store."""
    with full_project(bench.paths) as (place, ids):
        named = {
            "`sync` with nothing to do": ["sync"],
            "`trace` of a run": ["trace", ids[-1]],
            "`trace` of a commit": ["trace", "HEAD"],
            "`compare` of two runs, the table": ["compare", ids[0], ids[-1], "--no-page"],
            "`compare` of eight runs by name and commit, the table": [
                *("compare", "run 17", commit_id(77), "--no-page")
            ],
            "`compare` of the workspace's model and a run, table and page": [
                *("compare", "workspace", ids[0])
            ],
        }
        return [
            _row(bench, f"{what}, {RUNS:,} runs", words, place.workspace, 3)
            for what, words in named.items()
        ]


def stages(bench: Bench) -> list[Row]:
    """All five stages of a clone, data at hand; then with another process on one of the cores."""
    quiet = _stages(bench)
    with spinning():
        busy = _stages(bench)
    total = {"busy": [sum(s for s, _ in busy)], "quiet": [sum(s for s, _ in quiet)]}
    single = {stage: [found[0]] for stage, found in zip(STAGES, quiet, strict=True)}
    return [
        seconds_row("all five stages, data at hand", total["quiet"], 45),
        *(seconds_row(f"the stage {stage}", seconds) for stage, seconds in single.items()),
        ratio_row("all five stages, one core busy / quiet", total, 2.5),
        _memory_row(max(gigabytes for _, gigabytes in quiet)),
    ]


def _memory_row(gigabytes: float) -> Row:
    measured = f"{gigabytes:.2f} GB"
    return Row(
        "peak memory of a stage", measured, gigabytes, "at most 1.5 GB", gigabytes <= 1.5, {}
    )


def _stages(bench: Bench) -> list[tuple[float, float]]:
    paths = bench.paths
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", paths.workspace, clone], check=True)
        shutil.copytree(paths.workspace / "src", clone / "src", dirs_exist_ok=True)
        yaml = YAML()
        params = yaml.load(paths.params)
        params["runtime"]["data_folder"] = str(paths.raw_data)
        yaml.dump(params, clone / "params.yaml")
        return [timed(_rhobeta(stage), clone) for stage in STAGES]


def _row(
    bench: Bench,
    what: str,
    words: list[str],
    folder: Path,
    target: float,
    rounds: int | None = None,
) -> Row:
    samples = bench.in_turns({"it": lambda: [timed(_rhobeta(*words), folder)[0]]}, rounds)
    return seconds_row(what, samples["it"], target)


def _rhobeta(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "rhobeta"), *words]


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and peak gigabytes of a command, which must succeed."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace")
            raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    scale = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * scale / 1e9
