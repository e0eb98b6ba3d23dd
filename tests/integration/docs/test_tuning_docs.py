"""docs/tuning.md and docs/scaling.md: metrics, settings and recipes are valid."""

import re
import subprocess

from ruamel.yaml import YAML

from helpers import REPOSITORY, with_changes
from rhobeta.config.params import check_params
from rhobeta.config.search import METRICS
from rhobeta.tuning.storage import STORAGE_VARIABLE

TUNING = (REPOSITORY / "docs" / "tuning.md").read_text()
SCALING = (REPOSITORY / "docs" / "scaling.md").read_text()


def test_every_metric_is_explained() -> None:
    table = "\n".join(line for line in TUNING.splitlines() if line.startswith("| `"))
    assert set(METRICS) <= set(re.findall(r"`([\w@.]+)`", table))


def test_settings_that_are_shown_are_allowed() -> None:
    shown = re.findall(r"^    (objectives|constraints): (.+)$", TUNING, re.MULTILINE)
    assert {name for name, _ in shown} == {"objectives", "constraints"}
    changes = {f"tune.{name}": YAML(typ="safe").load(text) for name, text in shown}
    rules = re.findall(r"^- `(knee|best [^`]+)`", TUNING, re.MULTILINE)
    assert len(rules) == 2
    for rule in rules:
        check_params(with_changes(changes | {"tune.choose": rule}), where="docs/tuning.md")


def recipes() -> list[str]:
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", SCALING, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in blocks]


def test_the_recipes_are_well_formed() -> None:
    plain = recipes()
    jobs = [block for block in plain if block.startswith("apiVersion")]
    containers = []
    for job in jobs:
        spec = YAML(typ="safe").load(job)
        containers += spec["spec"]["template"]["spec"]["containers"]
    training, container = containers
    assert training["command"][-1].endswith("exec rhobeta train")
    assert container["command"] == ["rhobeta", "tune", "--workers", "1"]
    assert STORAGE_VARIABLE in {variable["name"] for variable in container["env"]}
    shell = [block for block in plain if "rhobeta t" in block and block not in jobs]
    assert shell
    for block in shell:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
