"""Penalties and code activations by name: which fit, and what a file of one's own may add."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rhobeta import extensions as registry
from rhobeta.errors import RhobetaError
from rhobeta.extensions import (
    CODE_ACTIVATIONS,
    EXTENSIONS,
    PENALTIES,
    code_activation,
    incompatibility,
    load_extensions,
    penalty,
    resolve,
)
from rhobeta.model import penalties

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


def test_these_are_the_names_that_the_program_comes_with() -> None:
    assert set(CODE_ACTIVATIONS) == EVERY_CODE
    assert set(PENALTIES) == set(FITTING)


@pytest.mark.parametrize("kind", FITTING)
@pytest.mark.parametrize("code", sorted(EVERY_CODE))
def test_which_penalty_fits_which_code(kind: str, code: str) -> None:
    reason = incompatibility(kind, code)
    assert (reason is None) == (code in FITTING[kind])
    if reason is not None:
        assert re.search(rf"\b{'an' if code == 'identity' else 'a'} {code} code", reason)
        # The ways out are ways out.
        codes, _, kinds = reason.partition("Use ")[2].partition("penalty.kind")
        advised = EVERY_CODE & set(re.findall(r"\w+", codes))
        assert advised
        assert advised <= FITTING[kind]
        for other in FITTING.keys() & set(re.findall(r"\w+", kinds)):
            assert code in FITTING[other]
        # A code with a penalty on its mean that fits it is told so.
        if any(code in FITTING[other] for other in ("kl", "kl_poisson")):
            assert kinds


def test_which_penalties_have_a_target() -> None:
    with_target = {name for name, entry in PENALTIES.items() if entry.uses_rho}
    assert with_target == {"kl", "kl_poisson", "kl_tutorial"}


def test_places_are_imported_and_functions_taken_as_they_are() -> None:
    assert resolve("rhobeta.model.penalties:l1_code") is penalties.l1_code
    assert resolve(math.sqrt) is math.sqrt
    for entry in (*CODE_ACTIVATIONS.values(), *PENALTIES.values()):
        if entry.function is not None:
            assert callable(resolve(entry.function))


def test_what_is_registered_is_found_by_its_name() -> None:
    @code_activation("cube", low=-math.inf)
    def cube(z: torch.Tensor) -> torch.Tensor:
        return z**3

    @penalty("log", on="code", formula="mean over images of sum over units of log(1 + a^2)")
    def log(code: torch.Tensor) -> torch.Tensor:
        return torch.log1p(code.square()).sum(1)

    # Usable as plain functions still.
    assert cube(torch.tensor(2.0)).item() == 8
    assert CODE_ACTIVATIONS["cube"].function is cube
    assert (CODE_ACTIVATIONS["cube"].low, CODE_ACTIVATIONS["cube"].high) == (-math.inf, math.inf)
    assert not CODE_ACTIVATIONS["cube"].bounded
    assert PENALTIES["log"].function is log
    assert not PENALTIES["log"].uses_rho
    assert incompatibility("log", "cube") is None
    assert incompatibility("kl", "cube") is not None
    assert incompatibility("kl_poisson", "cube") is not None


def test_a_code_of_ones_own_is_offered_to_those_whose_own_does_not_fit() -> None:
    code_activation("hard", low=0, high=1)(torch.nn.functional.hardsigmoid)
    assert incompatibility("kl", "hard") is None
    assert "sigmoid or tanh or hard" in str(incompatibility("kl", "relu"))


@pytest.mark.parametrize("name", ["relu", "topk"])
def test_a_name_of_a_code_that_is_taken_is_refused(name: str) -> None:
    before = CODE_ACTIVATIONS[name]
    with pytest.raises(RhobetaError, match=f"'{name}' is registered already"):
        code_activation(name, low=0)(torch.relu)
    assert CODE_ACTIVATIONS[name] is before


def test_a_name_of_a_penalty_that_is_taken_is_refused() -> None:
    with pytest.raises(RhobetaError, match="'kl' is registered already"):
        penalty("kl", on="code", formula="")(penalties.l1_code)
    # The two tables are apart.
    penalty("relu", on="code", formula="")(penalties.l1_code)


MINE = """
from rhobeta.extensions import penalty

@penalty("{name}", on="weights", formula="sum of squares")
def squares(weight):
    return weight.square().sum()
"""


def test_every_python_file_of_a_folder_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(MINE.format(name="second"))
    (tmp_path / "a.py").write_text(MINE.format(name="first"))
    (tmp_path / "README.md").write_text("# no code")
    (tmp_path / "c.txt").write_text("raise ValueError")
    before = len(PENALTIES)
    load_extensions(tmp_path)
    load_extensions(tmp_path)
    assert list(PENALTIES)[before:] == ["first", "second"]
    assert list(EXTENSIONS) == ["a.py", "b.py"]
    assert EXTENSIONS["a.py"] == (tmp_path / "a.py").read_bytes()


def test_the_same_file_in_another_folder_is_the_same_extension(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text(MINE.format(name="first"))
        load_extensions(tmp_path / folder)
    assert "first" in PENALTIES


def test_another_version_of_a_file_is_refused_in_the_same_process(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(MINE.format(name="first"))
    load_extensions(tmp_path)
    (tmp_path / "a.py").write_text(MINE.format(name="other"))
    with pytest.raises(RhobetaError, match=r"a\.py is another version"):
        load_extensions(tmp_path)
    assert "other" not in PENALTIES


def test_a_folder_that_is_not_there_has_no_extensions(tmp_path: Path) -> None:
    load_extensions(tmp_path / "none")
    assert EXTENSIONS == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named 'no_such_mod"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        (MINE.format(name="kl"), "'kl' is registered already; choose another name"),
        ("from rhobeta.extensions import penalty\npenalty('x')(print)\n", "TypeError"),
    ],
    ids=["syntax", "import", "error", "taken", "wrong use"],
)
def test_a_file_that_cannot_be_imported_is_named_with_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "faulty.py").write_text(text)
    for _ in range(2):
        with pytest.raises(RhobetaError) as caught:
            load_extensions(tmp_path)
        message = str(caught.value)
        assert message.startswith("extensions/faulty.py cannot be imported: ")
        assert reason in message
        assert "Mend the file" in message
    assert EXTENSIONS == {}
    assert not [name for name in registry.sys.modules if "faulty" in name]


@pytest.mark.parametrize(
    ("low", "high", "logits"),
    [(1, 1, None), (2, 1, None), (math.nan, 1, None), (0, math.inf, lambda z: z)],
)
def test_an_activation_of_no_interval_is_refused(low: float, high: float, logits: Any) -> None:
    with pytest.raises(RhobetaError, match="'odd' cannot be registered"):
        registry.code_activation("odd", low=low, high=high, logits=logits)
    assert "odd" not in registry.CODE_ACTIVATIONS


def test_a_penalty_on_something_unknown_is_refused() -> None:
    with pytest.raises(RhobetaError, match=r"on 'probabilty'; known: probability, mean, code"):
        registry.penalty("odd", on="probabilty", formula="")  # type: ignore[arg-type]


def test_a_file_that_fails_leaves_nothing_registered(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    register = (
        "from rhobeta.extensions import penalty\npenalty('half', on='code', formula='')(abs)\n"
    )
    file.write_text(register + "1 / 0\n")
    with pytest.raises(RhobetaError, match="ZeroDivisionError"):
        registry.load_extensions(tmp_path)
    assert "half" not in registry.PENALTIES
    file.write_text(register)
    registry.load_extensions(tmp_path)
    assert "half" in registry.PENALTIES
