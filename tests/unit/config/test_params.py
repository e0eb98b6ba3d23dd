"""What params.yaml may hold, and the messages for what it may not."""

import datetime
import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml
from pydantic import ValidationError

from helpers import REPOSITORY, shipped_values, with_changes
from rhobeta import errors
from rhobeta.config import bounds, params, renamed
from rhobeta.config.params import (
    Params,
    check_params,
    flatten,
    load_params,
    read_settings,
    with_values,
)
from rhobeta.errors import RhobetaError

SHIPPED = REPOSITORY / "params.yaml"


def accepted(changes: dict[str, Any]) -> Params:
    return check_params(with_changes(changes), where="params.yaml")


def refusal(values: Any) -> list[str]:
    """The lines of the message, without the first, which says where the values come from."""
    with pytest.raises(RhobetaError) as caught:
        check_params(values, where="the file's name")
    first, *faults = str(caught.value).splitlines()
    assert first == "the file's name is refused:"
    return [fault.removeprefix("  ") for fault in faults]


def the_fault(changes: dict[str, Any]) -> str:
    (fault,) = refusal(with_changes(changes))
    return fault


def shipped_leaves() -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, values in shipped_values().items()
        for name, value in values.items()
    }


def schema_leaves() -> dict[str, dict[str, Any]]:
    schema = Params.model_json_schema()
    leaves = {}
    for section, reference in schema["properties"].items():
        definition = schema["$defs"][reference["$ref"].rpartition("/")[2]]
        for name, leaf in definition["properties"].items():
            leaves[f"{section}.{name}"] = leaf
    return leaves


def comments() -> dict[str, str]:
    """The comment on each parameter of the committed file, its lines joined."""
    found, section, key = {}, "", ""
    for line in SHIPPED.read_text().splitlines():
        if heading := re.fullmatch(r"(\w+): *(?:#.*)?", line):
            section = heading[1]
        elif entry := re.fullmatch(r"  (\w+): [^#]*(#.*)?", line):
            key = f"{section}.{entry[1]}"
            found[key] = (entry[2] or "").removeprefix("# ")
        elif more := re.fullmatch(r" {10,}# (.*)", line):
            found[key] += f" {more[1]}"
    return found


@pytest.mark.parametrize("module", [bounds, errors, params, renamed])
def test_docstring_examples(module: Any) -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


def test_checking_parameters_does_not_import_torch() -> None:
    code = "import sys, rhobeta.config.presets; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shipped_file_is_accepted_and_flattened_in_its_order() -> None:
    assert list(flatten(load_params(SHIPPED)).items()) == list(shipped_leaves().items())


def test_flatten_of_a_section_with_a_prefix() -> None:
    values = with_changes({})["penalty"]
    assert flatten(accepted({}).penalty, "penalty.") == {
        f"penalty.{name}": value for name, value in values.items()
    }


def test_every_comment_is_the_docstring_of_its_field() -> None:
    """A parameter is described once; on a failure, copy the docstring into params.yaml."""
    docstrings = {path: " ".join(leaf["description"].split()) for path, leaf in _leaves()}
    assert comments() == docstrings


def _leaves() -> list[tuple[str, dict[str, Any]]]:
    return list(schema_leaves().items())


@pytest.mark.parametrize(("path", "leaf"), _leaves(), ids=[path for path, _ in _leaves()])
def test_every_docstring_states_the_range(path: str, leaf: dict[str, Any]) -> None:
    text = leaf["description"]
    stated = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}
    # Those of a list are the range of its entries.
    for branch in (*leaf.get("anyOf", [leaf]), leaf.get("items", {})):
        for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            if key in branch:
                assert branch[key] in stated
        for choice in branch.get("enum", [branch["const"]] if "const" in branch else []):
            assert re.search(rf"\b{re.escape(choice)}\b", text)


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("penalty.rhoo", "penalty.rhoo: unknown key. Did you mean rho?"),
        ("training.batchsize", "training.batchsize: unknown key. Did you mean batch_size?"),
        ("training.rho", "training.rho: unknown key. Did you mean penalty.rho?"),
        (
            "penalty.zzzz",
            "penalty.zzzz: unknown key, allowed: kind, rho, beta, target, target_above, warmup",
        ),
        ("penalti", "penalti: unknown key. Did you mean penalty?"),
        (
            "zzz",
            "zzz: unknown key, allowed: data, model, penalty, topk, training, evaluate,"
            " visualize, runtime, tune, registry",
        ),
        ("topk.revive", "topk.revive: unknown key, which is topk.auxk_coef since version 0.2"),
        ("evaluate.uses", "evaluate.uses: unknown key, which is evaluate.tasks since version 0.2"),
        (
            "evaluate.probe_iterations",
            "evaluate.probe_iterations: unknown key, which is gone: probes are fitted until they"
            " have converged. Remove the line",
        ),
    ],
)
def test_unknown_key_is_named_with_the_nearest_known_one(key: str, answer: str) -> None:
    assert the_fault({key: 1}) == answer


def test_misspelt_section_is_missing_and_unknown() -> None:
    values = shipped_values()
    values["penalti"] = values.pop("penalty")
    assert refusal(values) == [
        "penalty: missing, allowed: a section with kind, rho, beta, target, target_above, warmup",
        "penalti: unknown key. Did you mean penalty?",
    ]


@pytest.mark.parametrize(
    ("path", "value", "answer"),
    [
        ("penalty.rho", 1.5, "found 1.5, allowed: less than 1. Target mean activation of every"),
        ("penalty.rho", 0, "found 0, allowed: greater than 0. Target mean activation of every"),
        ("data.seed", 2**32, "found 4294967296, allowed: less than or equal to 4294967295. Seed"),
        ("training.epochs", 2.0, "found 2.0, allowed: a valid integer. Passes over the training"),
        ("training.epochs", datetime.date(2026, 1, 2), "found 2026-01-02 (a date; in quotes"),
        ("training.epochs", "2", "found '2' (text), allowed: a valid integer. Passes over the"),
        ("training.epochs", True, "found true, allowed: a valid integer. Passes"),
        ("penalty.rho", None, "found null, allowed: a valid number. Target"),
        ("penalty.rho", {"a": 1}, "found a section, allowed: a valid number. Target"),
        ("penalty.kind", "l1", "found 'l1', allowed: kl, kl_poisson, kl_tutorial, l1_code,"),
        ("penalty.kind", "kl_poison", "found 'kl_poison', allowed: kl, kl_poisson, kl_tutorial,"),
        ("penalty.kind", "l1_kernel", "found 'l1_kernel', which is l1_weights since version 0.2"),
        ("data.name", "cifar", "found 'cifar' (text), allowed: 'mnist', 'fashion-mnist', 'kmnist'"),
        ("model.hidden_sizes", 64, "found 64, allowed: a valid list. Units of each encoder"),
        ("runtime.threads", 0, "found 0, allowed: 'auto' or greater than or equal to 1. CPU"),
        ("runtime.experiment", "", "found '' (text), allowed: Value should have at least 1"),
        ("data", None, "found null, allowed: a section with name, classes"),
    ],
)
def test_wrong_value_is_answered_with_found_and_allowed(path: str, value: Any, answer: str) -> None:
    assert the_fault({path: value}).startswith(f"{path}: {answer}")


@pytest.mark.parametrize(
    ("path", "value"), [("model.hidden_sizes", [8, 64.0]), ("data.classes", [5, 256])]
)
def test_wrong_entry_of_a_list_is_named_by_its_index(path: str, value: list[Any]) -> None:
    assert the_fault({path: value}).startswith(f"{path}.1: found {value[1]}, allowed: ")


def test_misspelt_name_gets_the_nearest() -> None:
    assert the_fault({"model.code_activation": "sigmoyd"}).endswith("Did you mean sigmoid?")
    assert "Did you mean" not in the_fault({"penalty.kind": "zzzz"})


def test_missing_parameter_is_named_with_its_docstring() -> None:
    values = shipped_values()
    del values["penalty"]["rho"]
    assert refusal(values) == [
        "penalty.rho: missing, allowed: Target mean activation of every unit, (0, 1), for the KLs."
    ]


def test_every_fault_is_reported_in_the_order_of_the_file() -> None:
    changes = {
        "visualize.dpi": 39,
        "data.classes": [5, 5],
        "penalty.rho": 0,
        "penalty.gamma": 1,
        "training.epochs": "many",
    }
    paths = [fault.partition(":")[0] for fault in refusal(with_changes(changes))]
    assert paths == [
        "data.classes",
        "penalty.rho",
        "penalty.gamma",
        "training.epochs",
        "visualize.dpi",
    ]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_nan_and_infinity_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(
        RhobetaError, match=r"\n  penalty.beta: found -?(nan|inf), allowed: 'auto' or a fin"
    ):
        load_params(edited(tmp_path, "penalty.beta", value))


def test_number_too_long_to_print_is_refused(tmp_path: Path) -> None:
    file = edited(tmp_path, "training.epochs", f"0x{'f' * 5000}")
    with pytest.raises(RhobetaError, match=r"epochs: found a number that is too long to print"):
        load_params(file)


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("l0_thresholds", [0.5, 0.1], "ascending, no repeats"),
        ("few_labels", [10, 10], "ascending, no repeats"),
        ("tasks", ["anomaly", "anomaly"], "no repeats"),
        ("normal_classes", [3, 1, 3], "no repeats"),
    ],
)
def test_list_out_of_order_is_refused(name: str, values: list[Any], allowed: str) -> None:
    assert the_fault({f"evaluate.{name}": values}) == (
        f"evaluate.{name}: found {values}, allowed: {allowed}"
    )


def test_options_of_own_data_are_refused_for_other_data() -> None:
    assert "data.color: found grey, which is for data.name own" in the_fault({"data.color": "grey"})
    assert "data.labels: found False, which" in the_fault({"data.labels": False})


def test_class_named_twice_is_refused() -> None:
    assert the_fault({"data.classes": [5, 6, 5]}) == (
        "data.classes: found [5, 6, 5], which names a label twice"
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"data.name": "kmnist", "evaluate.normal_classes": [3, 10]},
            "evaluate.normal_classes: found [3, 10], but the data has no class 10; allowed: some of"
            " 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, not all, or null",
        ),
        (
            {"data.name": "own", "data.classes": [6, 5, 7], "evaluate.normal_classes": [5, 1]},
            "evaluate.normal_classes: found [5, 1], but the data has no class 1; allowed: some of"
            " 5, 6, 7, not all, or null",
        ),
        (
            {"data.classes": [6, 5], "evaluate.normal_classes": [5, 6]},
            "evaluate.normal_classes: found [5, 6], all classes of the data, so none is an anomaly;"
            " allowed: some of 5, 6, not all, or null",
        ),
    ],
)
def test_normal_classes_that_the_data_lacks_are_refused(
    changes: dict[str, Any], fault: str
) -> None:
    assert the_fault(changes) == fault


@pytest.mark.parametrize(
    "changes",
    [
        {"data.classes": [5, 6], "evaluate.normal_classes": [6]},
        # The classes of own data are unknown before it is read.
        {"data.name": "own", "evaluate.normal_classes": [200]},
        {"evaluate.tasks": ["denoising"], "evaluate.normal_classes": [200]},
    ],
)
def test_other_normal_classes_are_accepted(changes: dict[str, Any]) -> None:
    accepted(changes)


def test_penalty_that_does_not_fit_the_code_is_refused() -> None:
    """Which fit is tested in test_extensions.py."""
    fault = the_fault({"penalty.kind": "kl", "model.code_activation": "relu"})
    assert fault.startswith("penalty.kind: found kl with model.code_activation relu:")
    assert "sigmoid or tanh, or penalty.kind kl_poisson" in fault


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"penalty.target": 1.0},
            "penalty.target: found 1, allowed: a mean activation below 1, or",
        ),
        (
            {
                "penalty.target": 64,
                "penalty.target_above": 0.1,
                "model.hidden_sizes": [64],
            },
            "penalty.target: found 64, allowed: a mean activation below 1, or with"
            " penalty.target_above an L0 below the 64 units of the code",
        ),
        (
            {"penalty.target": 0.1, "training.epochs": 1},
            "penalty.target: found 0.1 with training.e",
        ),
        (
            {"penalty.target": 0.1, "penalty.kind": "none"},
            "penalty.target: found 0.1, but penalty.kind none does not act on the code; use kl,",
        ),
        (
            {"penalty.target": 4, "penalty.kind": "kl_poisson", "model.code_activation": "topk"},
            "penalty.target: found 4, but a topk code has the number of active units that topk.k",
        ),
        (
            {"penalty.target": 0.1, "penalty.kind": "l1_code", "model.code_activation": "tanh"},
            "penalty.target: found 0.1, but penalty.kind l1_code pulls a tanh code to 0, which is",
        ),
        ({"penalty.beta": "auto"}, "penalty.beta: found auto without penalty.target, which it bel"),
        ({"penalty.target_above": 0.1}, "penalty.target_above: found 0.1 without penalty.target"),
        (
            {
                "penalty.target": 0.1,
                "tune.objectives": {"mse": "minimize", "rho_target": "minimize"},
            },
            "tune: found the metric rho_target with penalty.target, which has no rho",
        ),
    ],
)
def test_target_that_makes_no_sense_is_refused(changes: dict[str, Any], fault: str) -> None:
    assert the_fault(changes).startswith(fault)


def test_target_is_accepted_for_mean_and_l0() -> None:
    accepted({"penalty.target": 0.1, "penalty.beta": "auto"})
    accepted({"penalty.target": 12, "penalty.target_above": 0, "penalty.warmup": 0.2})
    l1 = {"penalty.kind": "l1_code", "model.code_activation": "relu"}
    accepted(l1 | {"penalty.target": 0.1, "model.start": "glorot"})


TOPK = {"model.code_activation": "topk", "penalty.kind": "none", "model.hidden_sizes": [99, 12]}


@pytest.mark.parametrize(("k", "start"), [(13, 13), (4, 13), (5, 4)])
def test_k_that_does_not_fit_the_code_is_refused(k: int, start: int) -> None:
    assert the_fault(TOPK | {"topk.k": k, "topk.start": start}) == (
        f"topk: found k {k} and start {start} with 12 units in the code, allowed: k at most start,"
        " start at most the units"
    )


def test_k_that_fits_is_accepted_and_other_codes_ignore_it() -> None:
    accepted(TOPK | {"topk.k": 12, "topk.start": 12})
    accepted({"topk.k": 8, "topk.start": 4, "model.hidden_sizes": [2]})


def test_cross_entropy_without_a_sigmoid_output_is_refused() -> None:
    bce = {"training.pixel_loss": "bce"}
    assert the_fault(bce | {"model.output_activation": "identity"}) == (
        "training.pixel_loss: found bce with model.output_activation identity, allowed: sigmoid,"
        " whose outputs are in (0, 1)"
    )
    accepted(bce)


def test_best_epoch_without_validation_images_is_refused() -> None:
    nothing = {"data.validation_fraction": 0}
    assert the_fault(nothing) == (
        "training.keep: found best with data.validation_fraction 0, allowed: last, since the best"
        " epoch is that of the lowest validation loss"
    )
    accepted(nothing | {"training.keep": "last"})


EXTENSION = """
from rhobeta.extensions import code_activation, penalty

@code_activation("half", low=0, high=0.5)
def half(z):
    return z.sigmoid() / 2

@penalty("half_l1", on="code", formula="half the sum")
def half_l1(code):
    return code.abs().sum(1) / 2
"""


@pytest.mark.usefixtures("clean_registry")
def test_names_of_extensions_are_accepted_and_offered(tmp_path: Path) -> None:
    with pytest.raises(RhobetaError, match="found 'half'"):
        load_params(edited(tmp_path, "model.code_activation", "half"))
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "mine.py").write_text(EXTENSION)
    assert load_params(tmp_path / "params.yaml").model.code_activation == "half"
    assert load_params(edited(tmp_path, "penalty.kind", "half_l1")).penalty.kind == "half_l1"
    assert the_fault({"penalty.kind": "half_11"}).endswith(
        "l1_weights, none, half_l1. Did you mean half_l1?"
    )
    assert "half" in schema_leaves()["model.code_activation"]["enum"]


@pytest.mark.parametrize("section", Params.model_fields)
def test_parameters_are_frozen(section: str) -> None:
    values = getattr(accepted({}), section)
    name = next(iter(type(values).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(values, name, getattr(values, name))


def edited(folder: Path, path: str, text: str) -> Path:
    """The committed file with one value's text replaced, written into `folder`."""
    section, name = path.split(".")
    pattern = rf"(?ms)(^{section}:[^\n]*\n.*?^  {name}:) [^#\n]*"
    content, count = re.subn(pattern, rf"\1 {text} ", SHIPPED.read_text(), count=1)
    assert count == 1
    file = folder / "params.yaml"
    file.write_text(content)
    return file


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("training.learning_rate", "1e-3", 0.001),
        ("penalty.beta", "1e2", 100.0),
        ("data.seed", "010", 10),
        ("runtime.experiment", "yes", "yes"),
        ("runtime.data_folder", "", None),
    ],
)
def test_values_are_read_as_dvc_reads_them(
    tmp_path: Path, path: str, text: str, value: Any
) -> None:
    file = edited(tmp_path, path, text)
    found = load_params(file)
    assert flatten(found)[path] == value
    assert found == check_params(load_yaml(file), where="DVC")


def test_missing_file_is_named_with_the_command_that_restores_it(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    with pytest.raises(RhobetaError) as caught:
        load_params(file)
    assert f"{file} is missing" in str(caught.value)
    assert "git checkout -- params.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"penalty: [\n", "<stream end>"),
        (b"penalty:\n  rho: 0.1\n  rho: 0.2\n", 'duplicate key "rho"'),
        (b"penalty: !!python/name:os.system\n", "python/name:os.system"),
        (b"a: 1\n---\nb: 2\n", "another document"),
        (b"name: \xff\n", "can't decode byte 0xff"),
        (b"name: \xff\n", "Save it as UTF-8"),
        (b"name: 2026-13-45\n", "month must be in 1..12"),
        (b"penalty:\n\trho: 0.1\n", "\nline 2, column 1: found character '\\t'"),
        (b"<<<<<<< HEAD\na: 1\n=======\n", "merge conflict"),
        (b"a: !!bool x\n", "does not fit its tag"),
    ],
)
def test_invalid_yaml_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(RhobetaError) as caught:
        load_params(file)
    assert str(caught.value).startswith(f"{file} is not valid YAML")
    assert reason in str(caught.value)
    # Advice for a programmer is none for a user.
    assert not re.search(r"https?:|sys\.|unicode string", str(caught.value))


@pytest.mark.parametrize(("content", "found"), [("", "null"), ("- 1\n", "[1]"), ("3\n", "3")])
def test_file_without_sections_is_refused(tmp_path: Path, content: str, found: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(RhobetaError) as caught:
        load_params(file)
    assert str(caught.value) == (
        f"params.yaml is refused:\n  the file: found {found}, allowed: a section with data, model,"
        " penalty, topk, training, evaluate, visualize, runtime, tune, registry"
    )


def test_settings_change_their_parameters_alone() -> None:
    before = accepted({})
    after = with_values(before, read_settings(["penalty.rho=3e-2", "model.hidden_sizes=[64, 32]"]))
    assert (after.penalty.rho, after.model.hidden_sizes) == (0.03, [64, 32])
    assert after.penalty.beta == before.penalty.beta
    assert after.training == before.training


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("penalty.rho=5", r"in a test is refused:\n  penalty\.rho: found 5"),
        ("penalty.rh=0.1", r"Did you mean rho\?"),
        ("penalty.rho=", r"penalty\.rho: found null"),
        ("model.code_activation=relu", r"penalty\.kind: found kl with"),
        ("penalty.rho", r"Found 'penalty\.rho', expected PATH=VALUE"),
        ("penalty.rho={", r"the value of penalty\.rho is not valid YAML"),
        ("penalty.rho=*a", r"the value of penalty\.rho"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(setting: str, fault: str) -> None:
    with pytest.raises(RhobetaError, match=fault):
        with_values(accepted({}), read_settings([setting]), where="in a test")
