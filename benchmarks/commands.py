"""Whole commands in processes of their own: time and peak memory."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from rhobeta.paths import Paths

STAGES = ("download", "preprocess", "train", "evaluate", "visualize")
TIMES = 3


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    help_seconds = statistics.median(
        _run(["rhobeta", "--help"], paths.workspace)[0] for _ in range(TIMES)
    )
    idle_seconds = statistics.median(
        _run(["dvc", "repro"], paths.workspace)[0] for _ in range(TIMES)
    )
    stages = _stages(paths)
    total = sum(seconds for seconds, _ in stages.values())
    heaviest = max(stages, key=lambda stage: stages[stage][1])
    single = ", ".join(f"{stage} {seconds:.0f}" for stage, (seconds, _) in stages.items())
    peak = stages[heaviest][1]
    return [
        (
            "all five stages, data at hand",
            f"{total:.0f} s ({single})",
            "at most 120 s",
            total <= 120,
        ),
        (
            "the evaluate stage, all tasks scored",
            f"{stages['evaluate'][0]:.0f} s",
            "at most 30 s",
            stages["evaluate"][0] <= 30,
        ),
        ("peak memory of a stage", f"{peak:.2f} GB ({heaviest})", "at most 1.5 GB", peak <= 1.5),
        (
            f"`dvc repro` with nothing to do (median of {TIMES})",
            f"{idle_seconds:.2f} s",
            "at most 1.5 s",
            idle_seconds <= 1.5,
        ),
        (
            f"`rhobeta --help` (median of {TIMES})",
            f"{help_seconds:.2f} s",
            "at most 0.3 s",
            help_seconds <= 0.3,
        ),
    ]


def _stages(paths: Paths) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", paths.workspace, clone], check=True)
        shutil.copytree(paths.workspace / "src", clone / "src", dirs_exist_ok=True)
        yaml = YAML()
        params = yaml.load(paths.params)
        params["runtime"]["data_folder"] = str(paths.raw_data)
        yaml.dump(params, clone / "params.yaml")
        return {stage: _run(["rhobeta", stage], clone) for stage in STAGES}


def _run(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and peak gigabytes of a command, which must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed; run it by hand to see the reason")
    scale = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * scale / 1e9
