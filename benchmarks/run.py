"""Print a table of speed and memory: `make bench`, on a quiet machine.

`python -m benchmarks.run` takes about five minutes. `python -m benchmarks.run all` also measures
what takes over an hour: the store with many runs, tracking and the search. Names of modules in this
folder, such as `epoch probe`, choose single benchmarks.
"""

import importlib
import sys

from rhobeta.paths import find_paths

QUICK = ("baselines", "commands", "epoch", "probe", "states")
LONG = ("lineage", "tracking", "tuning")


def main(names: list[str]) -> None:
    """Measure the named benchmarks and print one table."""
    chosen = QUICK if not names else QUICK + LONG if names == ["all"] else tuple(names)
    if unknown := set(chosen) - {*QUICK, *LONG}:
        known = " ".join(("all", *QUICK, *LONG))
        raise SystemExit(f"found {', '.join(sorted(unknown))}, expected some of: {known}")
    paths = find_paths()
    rows = []
    for name in chosen:
        print(f"measuring {name} ...", flush=True)
        rows += importlib.import_module(f"benchmarks.{name}").rows(paths)
    width = max(len(row[0]) for row in rows)
    measured = max(len(row[1]) for row in rows)
    print(f"{'':{width}}  {'measured':{measured}}  {'target':13}  met")
    for name, value, target, met in rows:
        print(f"{name:{width}}  {value:{measured}}  {target:13}  {'yes' if met else 'NO'}")


if __name__ == "__main__":
    main(sys.argv[1:])
