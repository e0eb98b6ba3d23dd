"""Penalties and code activations by name: which fit, and what an extension may add."""

import doctest
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rhobeta import extensions
from rhobeta.cli.explain import explain
from rhobeta.errors import RhobetaError
from rhobeta.extensions import (
    ACTIVATION_SPECS,
    EXTENSIONS,
    PENALTY_SPECS,
    code_activation,
    incompatibility,
    load_extensions,
    penalty,
)
from rhobeta.model import penalties
from rhobeta.model.activations import ACTIVITY_LOGITS, CODE_ACTIVATIONS
from rhobeta.model.loss import SparseLoss
from rhobeta.model.means import Mean
from rhobeta.model.penalties import PENALTIES

pytestmark = pytest.mark.usefixtures("clean_registry")

EVERY_CODE = {"sigmoid", "tanh", "relu", "topk", "identity"}
FITTING = {
    "kl": {"sigmoid", "tanh"},
    "kl_poisson": {"sigmoid", "relu", "topk"},
    "kl_tutorial": {"sigmoid", "relu", "topk"},
    "l1_code": EVERY_CODE,
    "l1_weights": EVERY_CODE,
    "none": EVERY_CODE,
}


def test_each_built_in_name_has_a_spec_and_a_function() -> None:
    assert set(ACTIVATION_SPECS) == set(CODE_ACTIVATIONS) == EVERY_CODE
    assert set(PENALTY_SPECS) == set(FITTING) == {*PENALTIES, "none"}
    assert set(ACTIVITY_LOGITS) == {n for n, spec in ACTIVATION_SPECS.items() if spec.bounded}


@pytest.mark.parametrize("kind", FITTING)
@pytest.mark.parametrize("code", sorted(EVERY_CODE))
def test_incompatibility_of_each_penalty_and_code(kind: str, code: str) -> None:
    reason = incompatibility(kind, code)
    assert (reason is None) == (code in FITTING[kind])
    if reason is not None:
        assert re.search(rf"\b{'an' if code == 'identity' else 'a'} {code} code", reason)
        # What the message advises is compatible.
        codes, _, kinds = reason.partition("Use ")[2].partition("penalty.kind")
        advised = EVERY_CODE & set(re.findall(r"\w+", codes))
        assert advised
        assert advised <= FITTING[kind]
        for other in FITTING.keys() & set(re.findall(r"\w+", kinds)):
            assert code in FITTING[other]
        # A code with a compatible penalty on its mean is told so.
        if any(code in FITTING[other] for other in ("kl", "kl_poisson")):
            assert kinds


def test_uses_rho_of_each_penalty() -> None:
    with_target = {name for name, spec in PENALTY_SPECS.items() if spec.uses_rho}
    assert with_target == {"kl", "kl_poisson", "kl_tutorial"}


def test_docstring_examples() -> None:
    failed, tried = doctest.testmod(extensions)
    assert tried
    assert not failed


def test_registered_functions_are_found_by_name() -> None:
    @code_activation("cube", low=-math.inf)
    def cube(z: torch.Tensor) -> torch.Tensor:
        return z**3

    @penalty("log", on="code", formula="mean over images of sum over units of log(1 + a^2)")
    def log(code: torch.Tensor) -> torch.Tensor:
        return torch.log1p(code.square()).sum(1)

    # The decorators return the functions.
    assert cube(torch.tensor(2.0)).item() == 8
    assert CODE_ACTIVATIONS["cube"] is cube
    assert (ACTIVATION_SPECS["cube"].low, ACTIVATION_SPECS["cube"].high) == (-math.inf, math.inf)
    assert "cube" not in ACTIVITY_LOGITS
    assert PENALTIES["log"] is log
    assert not PENALTY_SPECS["log"].uses_rho
    assert incompatibility("log", "cube") is None
    assert incompatibility("kl", "cube") is not None
    assert incompatibility("kl_poisson", "cube") is not None


def test_registered_bounded_code_is_advised_for_the_kl() -> None:
    code_activation("hard", low=0, high=1)(torch.nn.functional.hardsigmoid)
    assert incompatibility("kl", "hard") is None
    assert "sigmoid or tanh or hard" in str(incompatibility("kl", "relu"))


def test_taken_name_of_a_code_is_refused() -> None:
    with pytest.raises(RhobetaError, match="'relu' is registered already"):
        code_activation("relu", low=0)(torch.abs)
    assert CODE_ACTIVATIONS["relu"](torch.tensor(-1.0)) == 0


def test_taken_name_of_a_penalty_is_refused() -> None:
    with pytest.raises(RhobetaError, match="'kl' is registered already"):
        penalty("kl", on="code", formula="")(penalties.l1_code)
    # A code's name is free for a penalty.
    penalty("relu", on="code", formula="")(penalties.l1_code)


SQUARES = """
from rhobeta.extensions import penalty

@penalty("{name}", on="weights", formula="sum of squares")
def squares(weight):
    return weight.square().sum()
"""


def test_every_python_file_is_imported_once_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(SQUARES.format(name="second"))
    (tmp_path / "a.py").write_text(SQUARES.format(name="first"))
    (tmp_path / "README.md").write_text("# no code")
    (tmp_path / "c.txt").write_text("raise ValueError")
    before = len(PENALTY_SPECS)
    load_extensions(tmp_path)
    load_extensions(tmp_path)
    assert list(PENALTY_SPECS)[before:] == ["first", "second"]
    assert {name: (tmp_path / name).read_bytes() for name in ("a.py", "b.py")} == EXTENSIONS


def test_same_file_in_another_folder_is_the_same_extension(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text(SQUARES.format(name="first"))
        load_extensions(tmp_path / folder)
    assert "first" in PENALTIES


def test_another_version_of_a_loaded_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SQUARES.format(name="first"))
    load_extensions(tmp_path)
    (tmp_path / "a.py").write_text(SQUARES.format(name="other"))
    with pytest.raises(RhobetaError, match=r"a\.py is another version"):
        load_extensions(tmp_path)
    assert "other" not in PENALTIES


def test_missing_folder_has_no_extensions(tmp_path: Path) -> None:
    load_extensions(tmp_path / "none")
    assert EXTENSIONS == {}


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("def broken(:\n", "SyntaxError", 1),
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named 'no_such_mod", 1),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero", 2),
        ("raise SystemExit(0)\n", "SystemExit: 0", 1),
        (SQUARES.format(name="kl"), "'kl' is registered already; choose another name", 4),
        ("from rhobeta.extensions import penalty\npenalty('x')(print)\n", "TypeError", 2),
    ],
    ids=["syntax", "import", "error", "exit", "taken", "wrong use"],
)
def test_failing_file_is_named_with_the_reason(
    tmp_path: Path, text: str, reason: str, line: int
) -> None:
    (tmp_path / "faulty.py").write_text(text)
    for _ in range(2):
        with pytest.raises(RhobetaError) as caught:
            load_extensions(tmp_path)
        message = str(caught.value)
        assert message.startswith("extensions/faulty.py cannot be imported: ")
        assert reason in message
        assert f"faulty.py, line {line})\n" in message
        assert "Correct the file" in message
    assert EXTENSIONS == {}
    assert not [name for name in sys.modules if "faulty" in name]


def test_a_fault_in_a_function_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SQUARES.format(name="mine").replace("square()", "sqare()"))
    load_extensions(tmp_path)
    with pytest.raises(AttributeError) as caught:
        PENALTIES["mine"](torch.ones(2))
    assert explain(caught.value, "train") == (
        "extensions/mine.py, line 6: AttributeError: 'Tensor' object has no attribute 'sqare'\n"
        "Correct the file, or name another penalty.kind or model.code_activation."
    )


def test_old_module_name_in_a_file_gets_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("from rhobeta.registry import penalty\n")
    with pytest.raises(RhobetaError) as caught:
        load_extensions(tmp_path)
    assert str(caught.value) == (
        "extensions/old.py imports rhobeta.registry, which is rhobeta.extensions since version"
        " 0.2: change that import."
    )


@pytest.mark.parametrize(
    ("low", "high", "logits"),
    [(1, 1, None), (2, 1, None), (math.nan, 1, None), (0, math.inf, lambda z: z)],
)
def test_activation_without_an_interval_is_refused(low: float, high: float, logits: Any) -> None:
    with pytest.raises(RhobetaError, match="'odd' cannot be registered"):
        code_activation("odd", low=low, high=high, logits=logits)


def test_penalty_on_an_unknown_input_is_refused() -> None:
    with pytest.raises(RhobetaError, match=r"on 'probabilty'; known: probability, mean, code"):
        penalty("odd", on="probabilty", formula="")  # type: ignore[arg-type]


def test_failing_file_leaves_nothing_registered(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    register = SQUARES.format(name="half")
    file.write_text(register + "1 / 0\n")
    with pytest.raises(RhobetaError, match="ZeroDivisionError"):
        load_extensions(tmp_path)
    assert "half" not in PENALTY_SPECS
    assert "half" not in PENALTIES
    file.write_text(register)
    load_extensions(tmp_path)
    assert "half" in PENALTIES


@pytest.mark.parametrize(
    ("returned", "found"), [(1.0, "float"), (torch.zeros(3), r"\[3\]"), (torch.zeros(1, 4), "1, 4")]
)
def test_penalty_of_another_shape_is_refused(returned: Any, found: str) -> None:
    penalty("odd", on="mean", formula="x")(lambda means, rho: returned)
    loss = SparseLoss("odd", "relu", rho=0.2, beta=1.0)
    with pytest.raises(RhobetaError, match=rf"penalty odd returned .*{found}.*of shape .*\[4\]"):
        loss.penalty(Mean(torch.ones(4)), [])
