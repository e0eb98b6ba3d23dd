"""What params.yaml may hold, and what a fault in it is answered with."""

import re
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml
from pydantic import ValidationError

from helpers import REPOSITORY, shipped_values, with_changes
from rhobeta.config.params import Params, check_params, flatten, load_params
from rhobeta.errors import RhobetaError

SHIPPED = REPOSITORY / "params.yaml"


def accepted(changes: dict[str, Any]) -> Params:
    return check_params(with_changes(changes), where="params.yaml")


def refusal(values: Any) -> list[str]:
    """The lines of the refusal, without the first, which says where the values come from."""
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
    """The comment on each parameter's line of the committed file."""
    found, section, key = {}, "", ""
    for line in SHIPPED.read_text().splitlines():
        if heading := re.fullmatch(r"(\w+): *(?:#.*)?", line):
            section = heading[1]
        elif entry := re.fullmatch(r"  (\w+): [^#]*(#.*)?", line):
            key = f"{section}.{entry[1]}"
            found[key] = (entry[2] or "").lstrip("# ")
        elif more := re.fullmatch(r" {10,}# (.*)", line):
            found[key] += f" {more[1]}"
    return found


def test_the_shipped_file_is_accepted_and_flattened_in_its_own_order():
    assert list(flatten(load_params(SHIPPED)).items()) == list(shipped_leaves().items())


def test_flatten_puts_the_prefix_before_the_leaves_of_one_section():
    values = shipped_values()["penalty"]
    assert flatten(accepted({}).penalty, "penalty.") == {
        f"penalty.{name}": value for name, value in values.items()
    }


@pytest.mark.parametrize("path", shipped_leaves())
def test_every_parameter_has_a_comment_that_states_its_range(path):
    comment, leaf = comments()[path], schema_leaves()[path]
    assert comment
    stated = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", comment)}
    for branch in leaf.get("anyOf", [leaf]):
        for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            if key in branch:
                assert branch[key] in stated
        for choice in branch.get("enum", [branch["const"]] if "const" in branch else []):
            assert re.search(rf"\b{re.escape(choice)}\b", comment)


def test_the_json_schema_describes_every_parameter():
    leaves = schema_leaves()
    assert leaves.keys() == shipped_leaves().keys()
    assert [path for path, leaf in leaves.items() if not leaf.get("description")] == []


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("penalty.rhoo", "penalty.rhoo: unknown key. Did you mean penalty.rho?"),
        (
            "training.batchsize",
            "training.batchsize: unknown key. Did you mean training.batch_size?",
        ),
        ("penalti", "penalti: unknown key. Did you mean penalty?"),
        (
            "zzz",
            "zzz: unknown key, allowed here: data, model, penalty, topk, training, evaluate,"
            " visualize, runtime, tune, registry",
        ),
    ],
)
def test_an_unknown_key_is_named_in_full_with_what_was_perhaps_meant(key, answer):
    assert the_fault({key: 1}) == answer


@pytest.mark.parametrize("key", ["training.rho", "penalty.zzzzzzzz"])
def test_an_unknown_key_is_never_answered_with_the_section_that_it_is_in(key):
    section = key.partition(".")[0]
    assert f"Did you mean {section}?" not in the_fault({key: 1})


def test_a_misspelt_section_is_missing_and_unknown_at_once():
    values = shipped_values()
    values["penalti"] = values.pop("penalty")
    assert refusal(values) == [
        "penalty: missing, allowed: a section with kind, rho, beta",
        "penalti: unknown key. Did you mean penalty?",
    ]


def test_a_missing_parameter_is_named_with_what_it_may_be():
    values = shipped_values()
    del values["penalty"]["rho"]
    assert refusal(values) == ["penalty.rho: missing, allowed: a number above 0 and below 1"]


@pytest.mark.parametrize(
    ("path", "inside", "outside"),
    [
        ("data.validation_fraction", [1e-9, 0.5], [-1e-9, 0.500001]),
        ("data.test_fraction", [1e-9, 0.5], [0, 0.500001]),
        ("data.seed", [0, 4294967295], [-1, 4294967296]),
        ("data.classes", [None, [0, 255], [5, 6, 7]], [[], [5], [-1, 5], [5, 256]]),
        ("model.hidden_sizes", [[1], [65536], [8] * 16], [[], [0], [65537], [8] * 17]),
        ("penalty.rho", [1e-9, 0.999999], [0, 1, -0.1]),
        ("penalty.beta", [0, 1000], [-1e-9, 1000.001]),
        ("training.epochs", [1, 100_000], [0, 100_001]),
        ("training.batch_size", [1, 1_000_000], [0, 1_000_001]),
        ("training.learning_rate", [1e-9, 1], [0, 1.000001]),
        ("evaluate.probe_k", [None, 1, 65536], [0, 65537]),
        ("training.epsilon", [1e-9, 1], [0, 1.000001]),
        ("training.noise", [0, 10], [-1e-9, 10.001]),
        ("topk.k", [1, 8, 32], [0, 65537]),
        ("topk.start", [1, 65536], [0, 65537]),
        ("topk.anneal", [0, 1], [-1e-9, 1.000001]),
        ("topk.auxk_coef", [0, 1], [-1e-9, 1.000001]),
        ("training.weight_decay", [0, 1], [-1e-9, 1.000001]),
        ("training.seed", [0, 4294967295], [-1, 4294967296]),
        ("evaluate.l0_thresholds", [[0], [1e-9, 0.999999]], [[], [-1e-9], [1], [0.1, 0.5, 1.5]]),
        (
            "evaluate.l0_thresholds",
            [[n / 16 for n in range(1, 11)]],
            [[n / 16 for n in range(1, 12)]],
        ),
        ("evaluate.dead_threshold", [1e-9, 0.999999], [0, 1]),
        ("evaluate.constant_std", [1e-9, 0.499999], [0, 0.5]),
        ("evaluate.probe_penalty", [1e-9, 1e6], [0, 1_000_001.0]),
        ("evaluate.probe_iterations", [10, 100_000], [9, 100_001]),
        (
            "evaluate.tasks",
            [[], ["anomaly"], ["compression", "sparse_probe"]],
            [["denoise"], "anomaly", None],
        ),
        (
            "evaluate.sparse_probe_units",
            [[1], [1, 65536], list(range(1, 11))],
            [[], [0], [65537], [1.0], list(range(1, 12))],
        ),
        (
            "evaluate.few_labels",
            [[1], [10, 1_000_000], list(range(1, 11))],
            [[], [0], [1_000_001], list(range(1, 12))],
        ),
        (
            "evaluate.noise",
            [[1e-9], [0.1, 10], [n / 16 for n in range(1, 11)]],
            [[], [0], [-0.1], [10.1], [n / 16 for n in range(1, 12)]],
        ),
        ("evaluate.normal_classes", [None, [0], [3, 1]], [[], [-1], [256], 3]),
        ("evaluate.seed", [0, 4294967295], [-1, 4294967296]),
        ("visualize.embedding_images", [50, 20_000], [49, 20_001]),
        ("visualize.filters", [1, 1024], [0, 1025]),
        ("visualize.dpi", [40, 600], [39, 601]),
        ("runtime.threads", [1, 1024, "auto"], [0, 1025]),
        ("runtime.experiment", ["x", "x" * 200], ["", "x" * 201]),
    ],
)
def test_values_are_accepted_up_to_their_bounds_and_refused_beyond(path, inside, outside):
    for value in inside:
        assert flatten(accepted({path: value}))[path] == value
    for value in outside:
        assert the_fault({path: value}).startswith(f"{path}: found ")


@pytest.mark.parametrize(
    ("path", "value", "answer"),
    [
        ("penalty.rho", 1.5, "found 1.5, allowed: a number above 0 and below 1"),
        ("penalty.beta", -1, "found -1, allowed: a number at least 0 and at most 1000"),
        ("data.test_fraction", 0, "found 0, allowed: a number above 0 and at most 0.5"),
        (
            "training.epochs",
            2.0,
            "found 2.0, allowed: a whole number at least 1 and at most 100000",
        ),
        ("training.epochs", "2", "found '2' (text), allowed: a whole number"),
        ("training.epochs", True, "found true, allowed: a whole number"),
        ("training.epochs", None, "found null, allowed: a whole number"),
        ("penalty.rho", "0.1", "found '0.1' (text), allowed: a number"),
        ("penalty.rho", False, "found false, allowed: a number"),
        ("penalty.rho", [0.1], "found [0.1], allowed: a number"),
        ("penalty.rho", {"a": 1}, "found a section, allowed: a number"),
        ("penalty.kind", "l1", "found 'l1', allowed: kl, kl_poisson, kl_tutorial, l1_code,"),
        ("penalty.kind", None, "found null, allowed: kl, kl_poisson, kl_tutorial, l1_code,"),
        ("data.name", "cifar", "found 'cifar' (text), allowed: mnist, fashion-mnist, kmnist, own"),
        ("data.seed", False, "found false, allowed: a whole number"),
        ("data.classes", [5, True], "found true, allowed: a list of 2 entries or more, each a"),
        ("model.hidden_sizes", 64, "found 64, allowed: a list of 1 to 16 entries, each a whole"),
        ("model.hidden_sizes", [64.0], "found 64.0, allowed: a list of 1 to 16 entries"),
        (
            "runtime.threads",
            True,
            "found true, allowed: a whole number at least 1 and at most 1024",
        ),
        ("runtime.threads", "two", "found 'two' (text), allowed: a whole number at least 1 and"),
        ("runtime.experiment", 3, "found 3, allowed: text"),
        ("runtime.data_folder", 3, "found 3, allowed: text or null"),
        ("data", None, "found null, allowed: a section with name, classes"),
    ],
)
def test_a_wrong_value_is_answered_with_what_was_found_and_what_is_allowed(path, value, answer):
    assert the_fault({path: value}).startswith(f"{path}: {answer}")


def test_of_an_empty_section_every_parameter_is_missing():
    faults = refusal(with_changes({"data": {}}))
    assert [fault.partition(", ")[0] for fault in faults] == [
        f"{path}: missing" for path in shipped_leaves() if path.startswith("data.")
    ]


def test_large_bounds_are_stated_exactly():
    assert "at most 4294967295" in the_fault({"data.seed": 4294967296})


def test_a_text_of_the_wrong_length_is_answered_with_the_lengths_allowed():
    _, _, allowed = the_fault({"runtime.experiment": ""}).partition("allowed: ")
    assert re.findall(r"\d+", allowed) == ["1", "200"]


@pytest.mark.parametrize("path", ["penalty.rho", "penalty.beta", "evaluate.probe_penalty"])
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_nan_and_infinity_are_refused(tmp_path, path, value):
    with pytest.raises(RhobetaError, match=rf"\n  {path}: found -?(nan|inf), allowed: a number"):
        load_params(edited(tmp_path, path, value))


def test_every_fault_is_reported_at_once_in_the_order_of_the_file():
    faults = refusal(
        with_changes(
            {
                "visualize.dpi": 39,
                "data.classes": [5, 5],
                "penalty.rho": 0,
                "penalty.gamma": 1,
                "training.epochs": "many",
            }
        )
    )
    assert [fault.partition(":")[0] for fault in faults] == [
        "data.classes",
        "penalty.rho",
        "penalty.gamma",
        "training.epochs",
        "visualize.dpi",
    ]


def test_a_class_named_twice_is_refused():
    assert the_fault({"data.classes": [5, 6, 5]}) == (
        "data.classes: found [5, 6, 5], which names a label twice"
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("l0_thresholds", [0.5, 0.1]),
        ("l0_thresholds", [0.1, 0.1]),
        ("sparse_probe_units", [2, 1]),
        ("sparse_probe_units", [5, 5]),
        ("few_labels", [100, 10]),
        ("few_labels", [10, 10]),
        ("noise", [0.3, 0.1]),
        ("noise", [0.3, 0.3]),
    ],
)
def test_lists_that_do_not_ascend_are_refused(name, values):
    assert the_fault({f"evaluate.{name}": values}) == (
        f"evaluate.{name}: found {values}, allowed: ascending, no repeats"
    )


@pytest.mark.parametrize(
    ("name", "values"), [("tasks", ["anomaly", "anomaly"]), ("normal_classes", [3, 1, 3])]
)
def test_repeats_are_refused_where_the_order_is_free(name, values):
    assert the_fault({f"evaluate.{name}": values}) == (
        f"evaluate.{name}: found {values}, allowed: no repeats"
    )


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_a_normal_class_that_the_data_does_not_have_is_refused(name):
    assert the_fault({"data.name": name, "evaluate.normal_classes": [3, 10]}) == (
        "evaluate.normal_classes: found [3, 10], but the data has no class 10; allowed: some of"
        " 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, not all, or null"
    )


@pytest.mark.parametrize("name", ["mnist", "own"])
def test_a_normal_class_that_is_left_out_of_the_data_is_refused(name):
    changes = {"data.name": name, "data.classes": [6, 5, 7], "evaluate.normal_classes": [5, 1]}
    assert "has no class 1; allowed: some of 5, 6, 7, not all" in the_fault(changes)


def test_no_class_left_to_be_an_anomaly_is_refused():
    fault = the_fault({"data.classes": [6, 5], "evaluate.normal_classes": [5, 6]})
    assert "found [5, 6], which is every class of the data" in fault
    assert "allowed: some of 5, 6, not all, or null" in fault


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate.normal_classes": [0, 1, 2, 3, 4, 5, 6, 7, 8]},
        {"data.classes": [5, 6], "evaluate.normal_classes": [6]},
        # Of the user's own data nothing is known before it is read.
        {"data.name": "own", "evaluate.normal_classes": [200]},
        # A use that is not scored has no wishes.
        {"evaluate.tasks": ["denoising"], "evaluate.normal_classes": [200]},
    ],
)
def test_other_normal_classes_are_accepted(changes):
    accepted(changes)


def test_kl_with_a_relu_code_is_refused_with_the_reason_and_the_ways_out():
    fault = the_fault({"penalty.kind": "kl", "model.code_activation": "relu"})
    assert fault.startswith("penalty.kind: found kl with model.code_activation relu:")
    assert "mean activation in (0, 1)" in fault
    assert "sigmoid or tanh, or penalty.kind kl_poisson" in fault


@pytest.mark.parametrize(
    ("kind", "code", "hidden"),
    [
        ("none", "relu", "relu"),
        ("kl", "tanh", "relu"),
        ("kl", "sigmoid", "relu"),
        ("none", "sigmoid", "tanh"),
    ],
)
def test_other_pairs_of_penalty_and_activation_are_accepted(kind, code, hidden):
    params = accepted(
        {
            "penalty.kind": kind,
            "model.code_activation": code,
            "model.hidden_activation": hidden,
        }
    )
    assert (params.penalty.kind, params.model.code_activation) == (kind, code)


@pytest.mark.parametrize("kind", ["kl_poisson", "kl_tutorial"])
@pytest.mark.parametrize(
    ("code", "ways_out"),
    [("tanh", "relu or topk, or penalty.kind kl"), ("identity", "relu or topk")],
)
def test_a_kl_of_means_with_a_code_that_can_be_negative_is_refused(kind, code, ways_out):
    fault = the_fault({"penalty.kind": kind, "model.code_activation": code})
    assert fault.startswith(f"penalty.kind: found {kind} with model.code_activation {code}: ")
    assert "codes that are never negative" in fault
    assert fault.endswith(f"Use model.code_activation {ways_out}")


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("penalty.kind", "kl_poison", "kl_poisson"),
        ("penalty.kind", "L1_code", "l1_code"),
        ("model.code_activation", "sigmoyd", "sigmoid"),
        ("model.code_activation", "topK", "topk"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_known_ones_and_the_nearest(path, value, meant):
    known = {
        "penalty.kind": "kl, kl_poisson, kl_tutorial, l1_code, l1_weights, none",
        "model.code_activation": "sigmoid, tanh, relu, topk, identity",
    }[path]
    assert the_fault({path: value}) == (
        f"{path}: found {value!r}, allowed: {known}. Did you mean {meant}?"
    )


def test_a_name_that_is_near_none_is_answered_with_the_known_ones():
    assert "Did you mean" not in the_fault({"penalty.kind": "zzzz"})


TOPK = {"model.code_activation": "topk", "penalty.kind": "none", "model.hidden_sizes": [99, 12]}


@pytest.mark.parametrize(("k", "start"), [(13, 13), (4, 13), (5, 4), (64, 128)])
def test_a_k_that_does_not_fit_the_code_is_refused(k, start):
    assert the_fault(TOPK | {"topk.k": k, "topk.start": start}) == (
        f"topk: found k {k} and start {start} with 12 units in the code, allowed: k at most start,"
        " start at most the units"
    )


@pytest.mark.parametrize(("k", "start"), [(12, 12), (1, 12), (4, 4)])
def test_a_k_that_fits_the_code_is_accepted(k, start):
    accepted(TOPK | {"topk.k": k, "topk.start": start})


def test_k_is_no_matter_to_other_codes():
    accepted({"topk.k": 8, "topk.start": 4, "model.hidden_sizes": [2]})


def test_cross_entropy_needs_outputs_that_are_probabilities():
    bce = {"training.pixel_loss": "bce"}
    assert the_fault(bce | {"model.output_activation": "identity"}) == (
        "training.pixel_loss: found bce with model.output_activation identity, allowed: sigmoid,"
        " whose outputs are in (0, 1)"
    )
    accepted(bce)


def test_without_validation_images_there_is_no_best_epoch_to_keep():
    nothing = {"data.validation_fraction": 0}
    assert the_fault(nothing) == (
        "training.keep: found best with data.validation_fraction 0, allowed: last, since no image"
        " is left to tell the best epoch by"
    )
    accepted(nothing | {"training.keep": "last"})
    accepted({"training.keep": "last"})


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
def test_names_of_extensions_beside_the_file_are_accepted_and_offered(tmp_path):
    with pytest.raises(RhobetaError, match="found 'half'"):
        load_params(edited(tmp_path, "model.code_activation", "half"))
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "mine.py").write_text(EXTENSION)
    assert load_params(tmp_path / "params.yaml").model.code_activation == "half"
    assert load_params(edited(tmp_path, "penalty.kind", "half_l1")).penalty.kind == "half_l1"
    assert the_fault({"penalty.kind": "half_11"}).endswith(
        "l1_weights, none, half_l1. Did you mean half_l1?"
    )
    assert the_fault({"penalty.kind": None}).endswith("l1_weights, none, half_l1")
    assert "half" in schema_leaves()["model.code_activation"]["enum"]


@pytest.mark.usefixtures("clean_registry")
def test_a_broken_extension_is_named_before_the_parameters_are_checked(tmp_path):
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "mine.py").write_text("nonsense\n")
    with pytest.raises(RhobetaError, match=r"extensions/mine\.py .*NameError"):
        load_params(edited(tmp_path, "penalty.rho", "7"))


@pytest.mark.parametrize(("section", "name"), [path.split(".") for path in shipped_leaves()])
def test_parameters_cannot_be_changed(section, name):
    params = accepted({})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(getattr(params, section), name, getattr(getattr(params, section), name))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(params, section, getattr(params, section))


def edited(folder, path, text):
    """The committed file with one value's text replaced, written into `folder`."""
    section, name = path.split(".")
    pattern = rf"(?ms)(^{section}:\n.*?^  {name}:) [^#\n]*"
    content, count = re.subn(pattern, rf"\1 {text} ", SHIPPED.read_text(), count=1)
    assert count == 1
    file = folder / "params.yaml"
    file.write_text(content)
    return file


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("training.learning_rate", "1e-3", 0.001),
        ("training.learning_rate", "1E-3", 0.001),
        ("penalty.beta", "1e2", 100.0),
        ("data.seed", "010", 10),
        ("runtime.experiment", "yes", "yes"),
        ("runtime.data_folder", "", None),
        ("data.classes", "[5, 6]", [5, 6]),
    ],
)
def test_text_is_read_as_dvc_reads_it(tmp_path, path, text, value):
    file = edited(tmp_path, path, text)
    found = load_params(file)
    assert flatten(found)[path] == value
    assert found == check_params(load_yaml(file), where="DVC")


def test_a_missing_file_is_named_with_the_command_that_brings_it_back(tmp_path):
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
    ],
)
def test_a_file_that_is_not_yaml_is_refused_with_the_reason(tmp_path, content, reason):
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(RhobetaError) as caught:
        load_params(file)
    assert str(caught.value).startswith(f"{file} is not valid YAML")
    assert reason in str(caught.value)


def test_an_impossible_date_is_refused_like_other_broken_yaml(tmp_path):
    file = edited(tmp_path, "runtime.experiment", "2026-13-45")
    with pytest.raises(RhobetaError, match=r"params\.yaml"):
        load_params(file)


@pytest.mark.parametrize(
    ("content", "found"),
    [("", "an empty file"), ("# nothing\n", "an empty file"), ("- 1\n", "[1]"), ("3\n", "3")],
)
def test_a_file_without_sections_is_refused(tmp_path, content, found):
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(RhobetaError) as caught:
        load_params(file)
    assert str(caught.value) == (
        f"params.yaml is refused:\n  the file: found {found}, allowed: a section with data, model,"
        " penalty, topk, training, evaluate, visualize, runtime, tune, registry"
    )
