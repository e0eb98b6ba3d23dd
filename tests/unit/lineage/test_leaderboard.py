"""`rhobeta runs`: which trainings are listed, in which order, and in which form."""

import csv
import io
import json
from pathlib import Path

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from helpers import NewStore
from rhobeta.cli import main
from rhobeta.lineage import runs as searches
from rhobeta.lineage.leaderboard import Condition
from rhobeta.paths import Paths
from rhobeta.tracking.store import Store


def log(store: Store, name: str, rho: float, metrics: dict[str, float], **more: str) -> str:
    client = store.client
    tags = {"rhobeta.stage": "train", "dvc.exp_name": name} | {
        key: value for key, value in more.items() if key.startswith("rhobeta")
    }
    run = client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id
    client.log_batch(
        run,
        params=[Param("penalty.rho", str(rho)), Param("data.name", "own")],
        metrics=[Metric(key, value, 0, 0) for key, value in metrics.items()],
    )
    test = more.get("test", "t0")
    split = Dataset("own-test", test, "local", "test", profile="{}")
    inputs = [InputTag("mlflow.data.context", "evaluation"), InputTag("sha256", test)]
    client.log_inputs(run, datasets=[DatasetInput(split, inputs)])
    client.set_terminated(run, "FINISHED")
    return str(run)


@pytest.fixture
def store(paths: Paths, new_store: NewStore) -> Store:
    """Three measured trainings, one without metrics, a trial."""
    store = new_store(paths)
    log(store, "good", 0.05, {"test/mse": 0.01, "test/gini": 0.6})
    log(store, "bad", 0.2, {"test/mse": 0.03, "test/gini": 0.8})
    log(store, "fair", 0.1, {"test/mse": 0.02, "test/gini": 0.7, "best/mse": 0.5})
    log(store, "unmeasured", 0.3, {})
    log(store, "a trial", 0.1, {"best/mse": 0.01}, **{"rhobeta.stage": "trial"})
    return store


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert main(["runs", "--json", *options]) == 0
    return [row["name"] for row in json.loads(capsys.readouterr().out)]


def test_runs_are_sorted_and_filtered_by_any_name(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several pages of the store.
    monkeypatch.setattr(searches, "_MOST", 2)
    best_first = ["good", "fair", "bad", "unmeasured"]
    assert listed(capsys) == best_first
    assert listed(capsys, "--sort", "gini") == ["bad", "fair", "good", "unmeasured"]
    assert listed(capsys, "--sort", "rho") == [*best_first[:2], "bad", "unmeasured"]
    assert listed(capsys, "--limit", "2") == best_first[:2]
    for condition, names in (
        ("mse<0.025", ["good", "fair"]),
        ("test/mse < 0.025 and penalty.rho >= 0.1", ["fair"]),
        # As numbers, not as text.
        ("rho=0.10", ["fair"]),
        ("experiment=bad", ["bad"]),
        ("metrics.`test/mse` < 0.025", ["good", "fair"]),
        ("params.`penalty.rho` = '0.1' and tags.`dvc.exp_name` LIKE 'f%'", ["fair"]),
        ("gini>1", []),
    ):
        assert listed(capsys, "--filter", condition) == names, condition
    assert listed(capsys, "--filter", "mse<0.025", "--filter", "metrics.`test/gini` > 0.65") == [
        "fair"
    ]


def test_table_csv_and_notes_hold_the_runs(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--sort", "rho", "--limit", "3"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == [
        "run", "name", "penalty.rho", "test/mse", "test/gini",
    ]  # fmt: skip
    assert table[2].split()[1:] == ["good", "0.05", "0.01", "0.6"]
    assert table[-1] == "note: 3 of 4 runs; --limit N shows more, --csv all"
    assert main(["runs", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == ["good", "fair", "bad", "unmeasured"]
    assert rows[1]["best/mse"] == "0.5"
    assert rows[3]["test/mse"] == ""
    log(store, "elsewhere", 0.1, {"test/mse": 0.001}, test="t1")
    assert main(["runs"]) == 0
    assert "measured on 2 different test splits" in capsys.readouterr().out
    assert main(["runs", "--filter", "test_data=t0"]) == 0
    assert "different test" not in capsys.readouterr().out
    assert main(["runs", "--filter", "rho>1"]) == 0
    assert capsys.readouterr().out == "no training keeps the filters\n"


def test_an_unknown_name_or_filter_is_explained(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, fault in (
        (["--sort", "mze"], "No run has 'mze'"),
        (["--filter", "test/mze<1"], "Did you mean test/mse?"),
        (["--filter", "mse < abc"], "test/mse < abc: found 'abc', expected a number"),
        (["--filter", "name"], "MLflow refuses the filter 'name'"),
        (["--filter", "metrics.`test/mse` ~ 3"], "MLflow refuses the filter"),
    ):
        assert main(["runs", *options]) == 1
        error = capsys.readouterr().err
        assert fault in error
        assert "xpected" in error


def test_without_a_store_none_is_made(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 1
    assert "There are no runs yet" in capsys.readouterr().err
    assert not (workspace / "mlruns").exists()


@pytest.mark.parametrize(
    ("text", "row", "holds"),
    [
        ("a<=1", {"a": 1.0}, True),
        ("a!=1", {"a": "1.0"}, False),
        ("a=1", {}, False),
        ("a!=1", {}, False),
        ("a = 'x y'", {"a": "x y"}, True),
        ("started>2026-01-01", {"started": "2026-03-01T10:00:00"}, True),
        ("a<nan", {"a": 1.0}, False),
    ],
)
def test_a_condition_compares_numbers_or_text(
    text: str, row: dict[str, str | float], holds: bool
) -> None:
    condition = Condition.parse(text)
    assert condition is not None
    assert condition.holds(row) is holds
