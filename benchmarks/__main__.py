"""Measure speed and print a table: `make bench`, on a quiet machine.

`python -m benchmarks` measures the core table in about six minutes and writes it to
`benchmarks/results.json` and `docs/performance.md`. `python -m benchmarks all` measures everything,
which takes over an hour. Names of benchmarks, such as `epoch probe`, choose some, which are only
printed; so is a run of fewer `--rounds`.
"""

import argparse
import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

from benchmarks.table import ROUNDS, Bench, Row, machine, markdown, text, write_results
from rhobeta.paths import find_paths
from rhobeta.utils.cpu import fix_instructions

CORE: dict[str, tuple[str, int]] = {
    "epoch": ("epoch.narrow", 40),
    "epoch-1": ("epoch.one_thread", 40),
    "busy": ("epoch.busy", 55),
    "wide": ("epoch.wide", 45),
    "probe": ("metrics.probe", 15),
    "evaluate": ("commands.evaluate", 45),
    "repro": ("commands.repro", 10),
    "help": ("commands.show_help", 5),
    "trace": ("commands.trace", 25),
}
"""Benchmarks of the core table: the function, and about how many seconds it takes."""
LONG: dict[str, tuple[str, int]] = {
    "stages": ("commands.stages", 600),
    "lineage": ("commands.lineage", 120),
    "baselines": ("metrics.baselines", 60),
    "mapped": ("mapped.rows", 900),
    "tracking": ("tracking.rows", 500),
    "tuning": ("searching.rows", 2400),
}
"""The others."""


def main(words: list[str]) -> None:
    """Measure the named benchmarks and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = {**CORE, **LONG}
    parser.add_argument("names", nargs="*", help=f"all, or some of: {' '.join(known)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each ({ROUNDS})")
    options = parser.parse_args(words)
    names = list(known) if options.names == ["all"] else options.names or list(CORE)
    if unknown := set(names) - known.keys():
        parser.error(f"found {', '.join(sorted(unknown))}; expected all, or of {', '.join(known)}")

    # What is measured in this process is measured as the commands run it.
    fix_instructions()
    warnings.filterwarnings("ignore")
    paths = find_paths()
    if {"repro", "trace", "evaluate", "lineage"} & set(names):
        print("dvc repro: what is measured has to be there", flush=True)
        subprocess.run(["dvc", "repro", "--quiet"], cwd=paths.workspace, check=True)
    bench = Bench(paths, options.rounds, seconds=sum(known[name][1] for name in names))
    rows: list[Row] = []
    for name in names:
        address, seconds = known[name]
        module, _, function = address.partition(".")
        with bench.benchmark(name, seconds):
            rows += getattr(importlib.import_module(f"benchmarks.{module}"), function)(bench)
    bench.close()

    here = machine()
    print(text(here, rows))
    if options.rounds >= ROUNDS and set(CORE) <= set(names):
        write_results(paths.workspace / "benchmarks" / "results.json", here, rows)
        page = paths.workspace / "docs" / "performance.md"
        page.write_text(markdown(page.read_text(), here, rows))


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    main(sys.argv[1:])
