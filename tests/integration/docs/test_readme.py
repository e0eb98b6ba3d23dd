"""The numbers in the README are those of the committed run."""

import json
import re

from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values
from rhobeta.config.params import check_params, flatten
from rhobeta.reporting.tables import result_rows

README = (REPOSITORY / "README.md").read_text()


def test_table_is_that_of_the_committed_metrics() -> None:
    metrics = json.loads((REPOSITORY / "reports" / "details.json").read_text())
    expected = [
        f"| {row.name} | {row.value} | {row.baseline} | {row.verdict} |"
        for row in result_rows(metrics)
    ]
    marked = README.partition("<!-- table: checked")[2]
    table = [line for line in marked.splitlines() if line.startswith("|")][2:]
    assert table == [re.sub(r" +", " ", line) for line in expected]
    # What the sentences say of the run.
    assert f"this run reaches {metrics['test']['mse']:.4f} with" in README
    penalty = shipped_values()["penalty"]
    assert f"Its rho {penalty['rho']} and beta {penalty['beta']} were" in README


def test_committed_lock_is_of_the_committed_parameters() -> None:
    lock = YAML(typ="safe").load((REPOSITORY / "dvc.lock").read_text())
    shipped = flatten(check_params(shipped_values(), where="params.yaml"))
    for stage in lock["stages"].values():
        for name, value in stage["params"]["params.yaml"].items():
            nested = value if isinstance(value, dict) else {None: value}
            for key, locked in nested.items():
                assert shipped[name if key is None else f"{name}.{key}"] == locked
