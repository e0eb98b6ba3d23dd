"""Write README's table of results: mean and standard deviation over three seeds.

    python -m experiments.readme

The seed of params.yaml comes from reports/details.json (`dvc repro`), the others from
experiments/outcomes (the stage `default` of experiments/dvc.yaml).
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.markdown import table
from rhobeta.paths import find_paths
from rhobeta.reporting.tables import ResultRow, result_rows, task_rows
from rhobeta.utils.files import read_json, write_text

OTHER_SEEDS = (1, 2)
START = "<!-- results: written by `python -m experiments.readme` -->\n"
END = "<!-- end of results -->\n"
_HEADER = ("On 10,000 test images", "Model", "Baseline", "Verdict", "What it says")

Metrics = dict[str, Any]


def main() -> None:
    """Replace the table in README.md."""
    root = find_paths().workspace
    readme = root / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"README.md: expected a table between {START.strip()} and {END.strip()}")
    write_text(readme, before + START + block(details_of_seeds(root)) + END + after)


def details_of_seeds(root: Path) -> list[Metrics]:
    """The metrics of the committed run and of the other seeds."""
    outcomes = root / "experiments" / "outcomes"
    return [
        read_json(root / "reports" / "details.json", made_by="rhobeta evaluate"),
        *(
            read_json(outcomes / f"default-{seed}.json", made_by="python -m experiments.default")
            for seed in OTHER_SEEDS
        ),
    ]


def block(details: Sequence[Metrics]) -> str:
    """What stands in README: the number of beaten baselines, and the table."""
    verdicts = [all(each["beats_baseline"][key] for each in details) for key in keys(details)]
    lines, said = [], ""
    for row in rows(details):
        # Rows of one task against several baselines say it once.
        lines.append(
            (row.name, row.value, row.baseline, row.verdict, row.meaning * (row.meaning != said))
        )
        said = row.meaning
    head = (
        f"Mean ± standard deviation over {len(details)} seeds. The model beats {sum(verdicts)} of"
        f" {len(verdicts)} baselines with every seed."
    )
    return "\n".join([head, "", *table(_HEADER, lines)]) + "\n"


def keys(details: Sequence[Metrics]) -> list[str]:
    """The baselines by their names in the metrics."""
    return list(details[0]["beats_baseline"])


def rows(details: Sequence[Metrics]) -> Iterator[ResultRow]:
    """The rows of one seed's table, with means and standard deviations as their values."""
    means, deviations = (combined(details, how) for how in (statistics.mean, statistics.stdev))
    of_seeds = [_rows(each) for each in details]
    for mean, deviation, *same in zip(_rows(means), _rows(deviations), *of_seeds, strict=True):
        values, verdicts = [row.value for row in same], [row.verdict for row in same]
        spread = f"{mean.value} ± {deviation.value.removesuffix(' dB').removesuffix(' bits')}"
        if ", " in same[0].value:
            # Several numbers in one: those of each seed.
            spread = "; ".join(dict.fromkeys(values))
        verdict = verdicts[0]
        if len(set(verdicts)) > 1:
            won = sum(row == "beats it" for row in verdicts)
            verdict = f"beats it with {won} of {len(verdicts)} seeds"
        yield ResultRow(mean.name, spread, mean.baseline, verdict, mean.meaning)


def _rows(metrics: Metrics) -> list[ResultRow]:
    return [*result_rows(metrics), *task_rows(metrics, judged=True)]


def combined(details: Sequence[Any], how: Callable[[list[float]], float]) -> Any:
    """Nested metrics with each number that of all seeds, whole ones of means rounded.

    >>> combined([{"a": 1.0, "b": {"c": True}}, {"a": 3.0, "b": {"c": True}}], statistics.mean)
    {'a': 2.0, 'b': {'c': True}}
    """
    first = details[0]
    if isinstance(first, dict):
        return {key: combined([each[key] for each in details], how) for key in first}
    if isinstance(first, bool) or not all(isinstance(each, int | float) for each in details):
        return first
    value = how(list(details))
    return round(value) if isinstance(first, int) else value


if __name__ == "__main__":
    main()
