"""Grouping by seed, what differs, intervals and marks: on numbers worked out by hand."""

import math
from typing import Any

import pytest

from rhobeta.lineage.compare import WIDTH, as_text
from rhobeta.lineage.comparison import (
    SeedGroup,
    best_of,
    cell_of,
    compare_groups,
    figure,
    grouped_by_seed,
    with_interval,
)
from rhobeta.lineage.runs import RunInfo

BASE = {"data.seed": "0", "penalty.rho": "0.05", "penalty.beta": "0.01", "training.seed": "0"}


def subject(
    changes: dict[str, str] | None = None,
    *,
    name: str = "a run",
    data_sha256: str = "d0",
    test_sha256: str = "t0",
    experiment: str = "",
    metrics: dict[str, float] | None = None,
) -> RunInfo:
    return RunInfo(
        name,
        "f" * 32,
        data_sha256=data_sha256,
        dvc_experiment=experiment or None,
        parameters=BASE | (changes or {}),
        metrics=metrics or {},
        splits={"evaluation": test_sha256},
    )


def seed(number: int, **fields: Any) -> RunInfo:
    return subject({"training.seed": str(number)}, **fields)


def letters_of(subjects: list[RunInfo]) -> list[list[str]]:
    return [[s.parameters["training.seed"] for s in g.members] for g in grouped_by_seed(subjects)]


def test_runs_that_differ_in_seed_alone_are_one_group() -> None:
    other = subject({"penalty.rho": "0.1", "training.seed": "7"})
    groups = grouped_by_seed([seed(2), other, seed(0), seed(1)])
    assert [group.heading for group in groups] == ["A (n=3)", "B"]
    assert letters_of([seed(2), other, seed(0), seed(1)]) == [["2", "0", "1"], ["7"]]


def test_the_same_seeds_twice_are_no_repetition() -> None:
    assert letters_of([seed(0), seed(0), seed(1)]) == [["0", "1"], ["0"]]


def test_runtime_parameters_do_not_split_a_group() -> None:
    runtime = subject({"training.seed": "1", "runtime.threads": "4", "visualize.dpi": "50"})
    assert len(grouped_by_seed([seed(0), runtime])) == 1
    assert len(grouped_by_seed([seed(0), subject({"evaluate.seed": "1"})])) == 2


def test_data_may_differ_only_where_its_seed_does() -> None:
    drawn_anew = subject({"data.seed": "1"}, data_sha256="d1")
    assert len(grouped_by_seed([seed(0), drawn_anew])) == 1
    assert len(grouped_by_seed([seed(0), seed(1, data_sha256="d1")])) == 2


def test_letters_go_on_after_z() -> None:
    many = [subject({"penalty.rho": f"0.{number:03}"}) for number in range(1, 29)]
    assert [group.letter for group in grouped_by_seed(many)][25:] == ["Z", "AA", "AB"]


def test_a_group_has_mean_and_student_interval() -> None:
    # Mean 2, s = 1, n = 3: t of 2 degrees of freedom at 0.975 is 4.3027, and that / sqrt 3 is 2.48.
    assert cell_of([1.0, 2.0, 3.0], 3) == "2.0 ± 2.5"
    # n = 2: t of 1 degree of freedom is 12.7062, s = sqrt 2 / 10: 12.7062 * 0.1 = 1.27.
    assert cell_of([0.4, 0.6], 2) == "0.5 ± 1.3"
    assert cell_of([0.25], 1) == "0.25"
    assert cell_of([3.0, 3.0], 3) == "3 (n=2)"
    assert cell_of([], 2) == "-"


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.0150123, 0.00123, "0.0150 ± 0.0012"),
        (0.5, 0.0996, "0.50 ± 0.10"),
        (123.4, 45.6, "123 ± 46"),
        (2.0, math.inf, "2 ± inf"),
    ],
)
def test_a_mean_has_as_many_digits_as_its_interval(mean: float, half: float, text: str) -> None:
    assert with_interval(mean, half) == text


def test_figures_have_five_digits_and_counts_are_whole() -> None:
    assert [figure(v) for v in (64.0, 0.0150123, 2e-9, math.nan)] == [
        "64",
        "0.015012",
        "2e-09",
        "nan",
    ]


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("test/mse", 0),
        ("best/fvu", 0),
        ("test/loss", 0),
        ("test/probe", 1),
        ("test/gini", 1),
        ("test/psnr_db", 1),
        ("few_labels/code_at_10", 1),
        ("anomaly/code_auroc_at_1_3", 1),
        ("baselines/pixel_probe", None),
        ("baselines/pca_mse", None),
        ("test/rho_hat_mean", None),
        ("denoising/noisy_at_0.1", None),
    ],
)
def test_the_best_is_marked_where_a_direction_is_known(name: str, best: int | None) -> None:
    marked = best_of(name, [[0.1], [0.2], []])
    assert marked == tuple(column == best for column in range(3))


def test_best_marks_ties_and_nothing_if_all_are_equal() -> None:
    assert best_of("test/mse", [[0.1, 0.3], [0.2], [0.5]]) == (True, True, False)
    assert best_of("test/mse", [[0.2], [0.2]]) == (False, False)
    assert best_of("test/mse", [[math.nan], [0.3], [0.4]]) == (False, True, False)


def compared(*subjects: RunInfo, everything: bool = False) -> dict[str, tuple[str, ...]]:
    comparison = compare_groups(grouped_by_seed(subjects), everything=everything)
    return {line.name: line.cells for line in [*comparison.parameters, *comparison.metrics]}


def test_tables_hold_what_differs_and_count_the_rest() -> None:
    one = {"test/mse": 0.1, "test/dead_units": 0.0, "train/mse": 0.3}
    two = {"test/mse": 0.2, "test/dead_units": 0.0, "train/mse": 0.4, "test/probe": 0.9}
    a = subject({"runtime.threads": "1"}, metrics=one)
    b = subject({"runtime.threads": "2", "penalty.rho": "0.1"}, metrics=two)
    assert compared(a, b) == {
        "penalty.rho": ("0.05", "0.1"),
        "test/mse": ("0.1", "0.2"),
        "test/probe": ("-", "0.9"),
    }
    notes = compare_groups(grouped_by_seed([a, b])).notes
    assert notes == [
        "1 parameters of the machine and the figures differ too (--all).",
        "1 metrics have the same value in all (--all).",
        "1 metrics of the last epoch are left out (--all).",
    ]
    everything = compared(a, b, everything=True)
    assert everything["penalty.beta"] == ("0.01", "0.01")
    assert everything["runtime.threads"] == ("1", "2")
    assert everything["test/dead_units"] == ("0", "0")
    assert everything["train/mse"] == ("0.3", "0.4")


def test_one_group_s_spread_is_no_value_that_all_share() -> None:
    lines = compared(seed(0, metrics={"test/mse": 0.1}), seed(1, metrics={"test/mse": 0.3}))
    # s = 0.1414, n = 2: 12.7062 * 0.1 = 1.27.
    assert lines == {"test/mse": ("0.2 ± 1.3",)}


def marks(*subjects: RunInfo) -> dict[str, tuple[bool, ...]]:
    return {line.name: line.best for line in compare_groups(grouped_by_seed(subjects)).metrics}


def test_losses_of_other_penalties_and_other_data_are_not_judged() -> None:
    low = {"test/mse": 0.1, "best/mse": 0.1, "best/loss": 0.1}
    high = dict.fromkeys(low, 0.2)
    a = subject(metrics=low)
    assert marks(a, subject({"training.noise": "0.3"}, metrics=high)) == {
        "test/mse": (True, False), "best/mse": (True, False), "best/loss": (True, False)
    }  # fmt: skip
    assert marks(a, subject({"penalty.beta": "0.1"}, metrics=high)) == {
        "test/mse": (True, False), "best/mse": (True, False), "best/loss": (False, False)
    }  # fmt: skip
    resplit = subject({"data.seed": "1", "penalty.rho": "0.1"}, metrics=high, data_sha256="d1")
    assert marks(a, resplit)["test/mse"] == (True, False)
    assert marks(a, resplit)["best/mse"] == (False, False)
    elsewhere = subject({"data.name": "kmnist"}, metrics=high, data_sha256="d1", test_sha256="t1")
    assert marks(a, elsewhere)["test/mse"] == (False, False)
    assert "cannot be compared" in compare_groups(grouped_by_seed([a, elsewhere])).notes[0]


def test_text_fits_the_terminal_whatever_is_compared() -> None:
    groups = [
        SeedGroup(
            letter,
            (
                subject(
                    {"model.hidden_sizes": str([512] * index), "a." + "long" * 30: letter},
                    name="long name " * index,
                    experiment="an-experiment" * (index % 3),
                    metrics={"test/mse": 1 / (index + 1), "test/gini": index / 7},
                ),
            ),
        )
        for index, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    ]
    text = as_text(compare_groups(groups))
    assert max(map(len, text.splitlines())) <= WIDTH
    # 1/26 is the lowest MSE, 25/7 the highest Gini, and both are Z's.
    assert [word for word in text.split() if word.endswith("*") and len(word) > 1] == [
        "0.038462*", "3.5714*"
    ]  # fmt: skip
