"""`rhobeta tune apply`: the chosen values in params.yaml, and every other byte as it was."""

from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from ruamel.yaml import YAML

from helpers import REPOSITORY
from helpers.searching import RunTrials
from rhobeta.cli import main
from rhobeta.config.params import load_params
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tuning.apply import _edit, apply_choice, with_replaced
from rhobeta.tuning.choice import TrialRow
from rhobeta.tuning.storage import open_storage, storage_url
from rhobeta.tuning.study import MEASURES, fingerprint_of, open_study
from rhobeta.tuning.study_results import StudyResults

SHIPPED = (REPOSITORY / "params.yaml").read_text()


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    pairs = zip(before.splitlines(True), after.splitlines(True), strict=True)
    return [(old, new) for old, new in pairs if old != new]


def test_only_the_values_change() -> None:
    changes = {"penalty.rho": 0.02812, "penalty.beta": 0.00001234, "model.hidden_sizes": [128, 32]}
    after = with_replaced(SHIPPED, changes, name="params.yaml")
    expected = SHIPPED.replace("  rho: null ", "  rho: 0.02812 ")
    expected = expected.replace("beta: auto ", "beta: 0.00001234 ")
    assert after == expected.replace("hidden_sizes: [160]", "hidden_sizes: [128, 32]")
    read = YAML(typ="safe").load(after)
    assert read["penalty"]["beta"] == 0.00001234
    assert read["model"]["hidden_sizes"] == [128, 32]


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  x: 1.5 # why\n  # x: 1.5\n  y: 1.5 # why\n",
        "a:\r\n  x: 1.5 # why\r\n  y: 2\r\n",
        "a:\r\n  x: 1.5\n  y: 2\r\n\r\n",
        "\ufeffa:\n  x: 1.5",
        "a:\n  x: 1.5 #\ttabs\t\n",
        "---\na: {y: [1.5, 1.5],  x:   1.5}  # both\nb: {x: 1.5}\n...\n",
        "a:\n  'x': &name 1.5   # anchor\n  y: 2\n",
        "a:\n  x: !!float 1.5\n",
        "a:\n  x:\n    1.5  # below\n",
        '# \xfcber \U0001f642\n"a":\n  ? x\n  : 1.5\n',
        f"a:\n  y: {'long ' * 100}end\n  x: 1.5 {' ' * 300}# far\n",
    ],
)
@pytest.mark.parametrize("value", [0.25, 12.3456789])
def test_every_other_byte_stays(text: str, value: float) -> None:
    after = with_replaced(text, {"a.x": value}, name="f")
    place = text.index("1.5}") if "1.5}  # both" in text else text.index("1.5")
    assert after == f"{text[:place]}{value}{text[place + 3 :]}"


def test_several_values_of_any_type_are_replaced() -> None:
    text = "a: {x: 1.5, y: 2}  # both\nb: {x: 'it # is', y: [1, 2], z: 3}\n"
    changes = {"a.y": 30, "b.x": "other", "b.y": [3], "b.z": True}
    after = with_replaced(text, changes, name="f")
    assert after == "a: {x: 1.5, y: 30}  # both\nb: {x: other, y: [3], z: true}\n"


def test_file_keeps_its_line_ends_its_mode_and_its_link(tmp_path: Path) -> None:
    target, link = tmp_path / "shared.yaml", tmp_path / "params.yaml"
    target.write_bytes("\ufeffa:\r\n  x: 1 # \xfc\r\n".encode())
    target.chmod(0o640)
    link.symlink_to("shared.yaml")
    _edit(link, {"a.x": 20})
    assert target.read_bytes() == "\ufeffa:\r\n  x: 20 # \xfc\r\n".encode()
    assert target.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "shared.yaml"]


def test_text_that_cannot_be_changed_safely_is_left_alone() -> None:
    text = "a:\n  x:\n    - 1\n    - 2\n"
    with pytest.raises(RhobetaError, match=r"set these by hand:\n  a\.x: \[3\]"):
        with_replaced(text, {"a.x": [3]}, name="f")


def test_the_command_applies_what_it_shows(
    run_here: RunTrials, capsys: pytest.CaptureFixture[str]
) -> None:
    study, params, job = run_here()
    path = job.paths.params
    before = path.read_text()
    assert main(["tune", "show"]) == 0
    shown = capsys.readouterr().out
    (chosen,) = [line for line in shown.splitlines() if line.startswith("chosen: trial")]
    number = int(chosen.split()[2].rstrip(","))
    assert main(["tune", "apply"]) == 0
    applied = load_params(path)
    trial = study.get_trials()[number]
    assert applied.penalty.rho == trial.params["penalty.rho"]
    assert f"penalty.rho {applied.penalty.rho}" in chosen
    assert all("penalty" in old for old, _ in changed_lines(before, path.read_text()))
    said = capsys.readouterr().out
    assert f"penalty.rho: {params.penalty.rho} -> {applied.penalty.rho}" in said
    assert "dvc repro" in said
    # The study is the same, since what it searches is no part of what is held fixed.
    assert main(["tune", "apply", "-S", "penalty.beta=0.5"]) == 0
    assert "already" in capsys.readouterr().out
    other = next(other for other in study.get_trials() if other.number != number)
    assert main(["tune", "apply", "--trial", str(other.number)]) == 0
    rho = other.params["penalty.rho"]
    assert f"penalty.rho: {applied.penalty.rho} -> {rho}" in capsys.readouterr().out
    after = path.read_text()
    assert load_params(path).penalty.rho == rho
    for more, fault in (
        (["--trial", "9"], "Trial 9 does not exist; expected a complete one"),
        (["-S", "training.epochs=1"], "training.epochs: the study has 2, params.yaml 1"),
    ):
        assert main(["tune", "apply", *more]) == 1
        assert fault in capsys.readouterr().err
    assert path.read_text() == after


def test_a_trial_with_foreign_values_is_not_applied(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    params = load_params(paths.params)
    storage = open_storage(storage_url(paths, None), heartbeat=20)
    fingerprint = fingerprint_of(params, "d" * 64)
    study, _ = open_study(storage, params.tune.study, params, fingerprint, "code")
    good = {"penalty.rho": 0.1, "penalty.beta": 0.005}
    # The later, the better.
    added = ({}, {"registry.thresholds": 0.0}, {"penalty.beta": 1000.0})
    for number, more in enumerate(added):
        stored = good | more
        measures = {"fvu": 0.9 - 0.1 * number, "gini": 0.1 * number, "dead_share": 0.0}
        study.add_trial(
            create_trial(
                params=stored,
                distributions={path: FloatDistribution(0, 1e6) for path in stored},
                values=[measures["fvu"], measures["gini"]],
                user_attrs={MEASURES: measures},
            )
        )
    before = YAML(typ="safe").load(paths.params)
    assert main(["tune", "apply"]) == 0
    said = capsys.readouterr().out
    assert "2 trials do not belong to this search and are left out:\n  trial 1 has values" in said
    assert "\n  trial 2 has penalty.beta 1000.0, expected: 0.0001 to 0.1" in said
    assert "chosen: trial 0" in said
    before["penalty"]["rho"], before["penalty"]["beta"] = 0.1, 0.005
    assert YAML(typ="safe").load(paths.params) == before


def test_values_that_do_not_fit_the_others_change_nothing(workspace: Path) -> None:
    path = workspace / "params.yaml"
    params, before = load_params(path), path.read_bytes()
    row = TrialRow(0, {}, {"model.code_activation": "relu"})
    with pytest.raises(RhobetaError, match=r"penalty\.kind: found kl with .* relu"):
        apply_choice(StudyResults({}, [row], [row], chosen=0), params, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["show", "--trials", "3"], "`rhobeta tune show` runs none"),
        (["show", "--trial", "3"], "--trial is for `rhobeta tune apply`"),
        (["--trial", "3"], "--trial is for `rhobeta tune apply`"),
        (["show", "-S", "penalty.rho=2"], "params.yaml with -S is refused:"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_options_that_do_not_fit_the_action_are_refused(
    arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *arguments]) == 1
    assert fault in capsys.readouterr().err


def test_without_a_study_there_is_nothing_to_show_or_apply(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in ("show", "apply"):
        assert main(["tune", action]) == 1
        assert "There is no study yet" in capsys.readouterr().err
