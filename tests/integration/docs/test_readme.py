"""The numbers in the README are those of the committed run."""

from experiments import readme
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values
from rhobeta.config.params import check_params, flatten

README = (REPOSITORY / "README.md").read_text()


def test_table_is_that_of_the_committed_metrics() -> None:
    _, _, rest = README.partition(readme.START)
    assert rest.partition(readme.END)[0] == readme.block(readme.details_of_seeds(REPOSITORY))


def test_table_names_the_committed_parameters() -> None:
    values = shipped_values()
    model, penalty, training = (values[name] for name in ("model", "penalty", "training"))
    (units,) = model["hidden_sizes"]
    text = " ".join(README.split())
    assert (
        f"784-{units}-784 with a {model['code_activation']} code whose mean activation is held to"
        f" {penalty['target']}, noise of {training['noise']} on the input, {training['epochs']}"
        " epochs" in text
    )


def test_committed_lock_is_of_the_committed_parameters() -> None:
    lock = YAML(typ="safe").load((REPOSITORY / "dvc.lock").read_text())
    shipped = flatten(check_params(shipped_values(), where="params.yaml"))
    for stage in lock["stages"].values():
        for name, value in stage["params"]["params.yaml"].items():
            nested = value if isinstance(value, dict) else {None: value}
            for key, locked in nested.items():
                assert shipped[name if key is None else f"{name}.{key}"] == locked
