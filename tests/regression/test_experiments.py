"""The reproductions: what they run fits, and the committed page is of the committed outcomes."""

import json
from pathlib import Path

import pytest
from experiments import digests, outcome, readme, results, targets
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values
from helpers.task_samples import CORE_METRICS, with_tasks
from rhobeta.config.presets import overlaid, preset_names, read_preset

FOLDER = REPOSITORY / "experiments"
STAGES = YAML(typ="safe").load((FOLDER / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("name", preset_names(FOLDER / "overlays"))
def test_overlay_is_complete_and_valid(name: str) -> None:
    overlay = read_preset(FOLDER / "overlays", name)
    assert overlay.keys() == read_preset(REPOSITORY / "presets", "blog-plain-deep").keys()
    overlaid(shipped_values(), overlay, name=name)


def test_matrix_runs_every_preset_and_overlay() -> None:
    run = STAGES["preset"]["matrix"]["name"] + STAGES["recipe"]["matrix"]["name"]
    # `quick` shows the stages, `small-64` is an earlier default: neither reproduces anything.
    assert sorted([*run, "quick", "small-64"]) == preset_names(REPOSITORY / "presets")
    assert sorted(STAGES["matched"]["matrix"]["name"]) == preset_names(FOLDER / "overlays")
    for stage in ("preset", "matched", "self_taught"):
        assert STAGES[stage]["matrix"]["seed"] == list(outcome.SEEDS)


def test_dependencies_of_the_stages_exist() -> None:
    for name, stage in STAGES.items():
        for dep in stage.get("deps", []):
            if "${" not in dep:
                assert (FOLDER / dep).exists(), f"{name} depends on {dep}"


def test_only_one_stage_depends_on_the_code() -> None:
    for name in set(STAGES) - {"code", "results"}:
        others = set(STAGES[name]["deps"]) - {"digests.json"}
        assert all(dep.endswith(".yaml") for dep in others)
    assert set(json.loads((FOLDER / "digests.json").read_text())) == set(digests.PATHS)


def test_digest_of_the_code_leaves_out_what_python_writes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = digests.digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert digests.digest(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert digests.digest(tmp_path) != first


def test_target_stages_are_those_of_the_table() -> None:
    matrix = STAGES["target"]["matrix"]
    assert matrix["data"] == list(outcome.DATA_SETS)
    assert matrix["units"] == list(outcome.WIDTHS)
    assert matrix["target"] == list(outcome.TARGETS)
    assert STAGES["default"]["matrix"]["seed"] == list(readme.OTHER_SEEDS)


@pytest.mark.parametrize(
    ("mse", "words"),
    [
        (0.01019, ("0.0100 (rho 0.04): +1.9%", "yes, yes")),
        (0.0103, ("0.0100 (rho 0.04): +3.0%", "yes, no")),
    ],
)
def test_a_search_counts_by_its_trainings_at_the_activity(
    mse: float, words: tuple[str, str]
) -> None:
    found = {
        "target": 0.1,
        "with_target": [{"activity": 0.1, "beta": 0.002, "mse": mse} for _ in range(3)],
        "search": [
            {"rho": 0.04, "activity": 0.1019, "mse": 0.01},
            {"rho": 0.02, "activity": 0.1021, "mse": 0.001},
        ],
    }
    assert results.target_row("mnist", 64, found)[6:] == words


def test_an_activity_off_by_more_than_two_percent_is_a_miss() -> None:
    found = {
        "target": 0.1,
        "with_target": [{"activity": q, "beta": 0.002, "mse": 0.01} for q in (0.1, 0.1021)],
        "search": [{"rho": 0.04, "activity": 0.09, "mse": 0.01}],
    }
    assert results.target_row("mnist", 64, found)[6:] == ("not reached", "no")


def test_next_guess_is_where_the_line_of_two_is_zero() -> None:
    assert targets.next_guess([(0.0, 1.0), (1.0, 0.5)]) == pytest.approx(2.0)
    # Of one training alone, and where the activity did not fall: the usual slope.
    assert targets.next_guess([(0.0, 0.07)]) == pytest.approx(0.1)
    assert targets.next_guess([(0.0, 0.07), (1.0, 0.07)]) == pytest.approx(1.1)
    assert targets.next_guess([(0.0, 9.0)]) == pytest.approx(targets.LARGEST_STEP)


def test_readme_rows_have_means_and_deviations() -> None:
    seeds = [with_tasks() | {"test": CORE_METRICS["test"] | {"mse": mse}} for mse in (0.01, 0.012)]
    seeds[1]["beats_baseline"] = seeds[1]["beats_baseline"] | {"pca": True}
    rows = {row.name: row for row in readme.rows(seeds)}
    assert rows["MSE against the mean image"].value == "0.01100 ± 0.00141"
    assert rows["MSE against PCA of the same size"].verdict == "beats it with 1 of 2 seeds"
    assert rows["Dead, constant, saturated units"].value == "11, 12, 13"
    # One row for each baseline, and those without a verdict.
    assert sum(bool(row.verdict) for row in rows.values()) <= len(seeds[0]["beats_baseline"])
    assert "beats 10 of 14 baselines with every seed" in readme.block(seeds)


def test_spread_and_percent() -> None:
    assert results.spread([1.0, 2.0, 3.0], ".1f") == "2.0 ± 1.0"
    assert results.percent([0.5, 0.52, 0.54]) == "52.00 ± 2.00 %"
    assert results.spread([2.5], ".1f") == "2.5"
    assert results.percent([0.5]) == "50.00 %"


def test_near_is_judged_by_every_seed() -> None:
    assert results.near([100.0, 101.0, 98.5], 100, 0.02) == "yes: every seed within 1.5%"
    assert results.near([100.0, 100.0, 97.0], 100, 0.02) == "no: every seed within 3.0%"


def test_reached_is_judged_by_the_mean() -> None:
    assert results.reached([0.97, 0.99, 0.98], 0.98) == "yes"
    assert results.reached([0.96, 0.97, 0.98], 0.98) == "no: 1.00 points short"


def test_committed_page_is_of_the_committed_outcomes() -> None:
    assert (FOLDER / "results.md").read_text() == results.page(FOLDER)


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "outcomes").glob("*-?.json")), ids=lambda p: p.stem
)
def test_outcomes_are_of_the_present_presets(path: Path) -> None:
    found = json.loads(path.read_text())
    name = path.stem.rpartition("-")[0]
    if name in ("self-taught", "default"):
        return
    folder = (
        FOLDER / "overlays" if name in preset_names(FOLDER / "overlays") else REPOSITORY / "presets"
    )
    assert found["parameters"] == read_preset(folder, name)
