"""Rows of the benchmark's table: measured in turns, printed, and written as JSON and Markdown."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rhobeta.paths import Paths
from rhobeta.utils.files import write_text
from rhobeta.utils.threads import cores

ROUNDS = 7
"""Turns that a committed number takes at least."""

_START, _END = "<!-- table: python -m benchmarks -->", "<!-- end of table -->"
_HEADER = ("what", "measured", "target", "met")

Samples = dict[str, list[float]]
"""What was measured, in seconds unless the row says otherwise, by the name of the variant."""


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    what: str
    measured: str
    value: float
    target: str
    """Such as "at most 0.6"; empty where the row is for comparison only."""
    met: bool | None
    samples: Mapping[str, Sequence[float]]

    def cells(self) -> tuple[str, str, str, str]:
        """The row as text."""
        return self.what, self.measured, self.target, {True: "yes", False: "NO", None: ""}[self.met]


class Bench:
    """What a benchmark needs: the project, the number of rounds, and a progress bar."""

    def __init__(self, paths: Paths, rounds: int, *, seconds: float) -> None:
        self.paths = paths
        self.rounds = rounds
        layout = "{desc:10} |{bar}| {elapsed}<{remaining}"
        self._bar = tqdm(total=seconds, bar_format=layout)
        self._first = self._expected = self._started = 0.0

    @contextmanager
    def benchmark(self, name: str, seconds: float) -> Iterator[None]:
        """Measure one benchmark, expected to take so many seconds."""
        self._bar.set_description(name)
        self._first, self._expected, self._started = self._bar.n, seconds, time.perf_counter()
        yield
        self._show(self._first + seconds)

    def in_turns(
        self, variants: Mapping[str, Callable[[], list[float]]], rounds: int | None = None
    ) -> Samples:
        """Samples of each variant, A B A B, so that a slow minute slows all of them."""
        samples: Samples = {name: [] for name in variants}
        for _ in range(min(self.rounds, rounds or self.rounds)):
            for name, measure in variants.items():
                samples[name] += measure()
                elapsed = time.perf_counter() - self._started
                self._show(self._first + min(elapsed, self._expected))
        return samples

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()

    def _show(self, seconds: float) -> None:
        self._bar.n = seconds
        self._bar.refresh()


def ratio_row(what: str, samples: Samples, target: float | None = None) -> Row:
    """The first variant's median time over the second's; further ones are shown beside them."""
    first, second = list(samples)[:2]
    value = statistics.median(samples[first]) / statistics.median(samples[second])
    times = "; ".join(f"{name} {_summary(found)}" for name, found in samples.items())
    met = None if target is None else value <= target
    limit = "" if target is None else f"at most {target:g}"
    return Row(what, f"{value:.2f} ({times})", value, limit, met, samples)


def seconds_row(what: str, seconds: list[float], target: float | None = None) -> Row:
    """The median time of one variant."""
    value = statistics.median(seconds)
    met = None if target is None else value <= target
    limit = "" if target is None else f"at most {target:g} s"
    return Row(what, _summary(seconds), value, limit, met, {"rhobeta": seconds})


def _summary(seconds: Sequence[float]) -> str:
    median = f"{statistics.median(seconds):.2f} s"
    return median if len(seconds) == 1 else f"{median}, {min(seconds):.2f}-{max(seconds):.2f}"


def machine() -> dict[str, Any]:
    """The processor, its cores, and the versions that the speed depends on."""
    import torch

    packages = ("torch", "pytorch-lightning", "mlflow", "dvc", "scikit-learn", "numpy")
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[1], 2),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def text(here: dict[str, Any], rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    cells = [_HEADER, *(row.cells() for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = ["  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([_in_words(here), *(line.rstrip() for line in lines)])


def markdown(page: str, here: dict[str, Any], rows: Sequence[Row]) -> str:
    """The page with its table replaced. Raises `ValueError` where it has no place for one."""
    before, _, rest = page.partition(_START)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"the page has no lines {_START} and {_END}")
    cells = [_HEADER, ("---",) * 4, *(row.cells() for row in rows)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    return f"{before}{_START}\n{_in_words(here)}\n\n{table}\n{_END}{after}"


def _in_words(here: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in here["versions"].items())
    return (
        f"{here['processor']}, {here['cores']} cores, {here['threads']} threads; {versions}. Load"
        f" of the five minutes before: {here['load_before']}."
    )


def write_results(path: Path, here: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write all that was measured, every single time included."""
    found = {"machine": here, "rows": [asdict(row) for row in rows]}
    write_text(path, json.dumps(found, indent=1) + "\n")


def read_results(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """What `write_results` wrote."""
    found = json.loads(path.read_text())
    return found["machine"], [Row(**row) for row in found["rows"]]
