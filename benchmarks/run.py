"""Print the table of speed and size. Run on a quiet machine: `make bench`."""

from benchmarks import commands, epoch, lineage, probe, states, tracking, tuning
from rhobeta.paths import find_paths


def main() -> None:
    """Measure everything and print one table."""
    paths = find_paths()
    print("measuring; this takes over an hour on a quiet machine ...", flush=True)
    rows = [
        *commands.rows(paths),
        *epoch.rows(paths),
        *probe.rows(paths),
        *states.rows(paths),
        *lineage.rows(paths),
        *tracking.rows(paths),
        *tuning.rows(paths),
    ]
    width = max(len(row[0]) for row in rows)
    measured = max(len(row[1]) for row in rows)
    print(f"{'':{width}}  {'measured':{measured}}  {'target':13}  met")
    for name, value, target, met in rows:
        print(f"{name:{width}}  {value:{measured}}  {target:13}  {'yes' if met else 'NO'}")


if __name__ == "__main__":
    main()
