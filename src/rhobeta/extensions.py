"""Names of code activations and penalties, and the decorators that add your own.

A file in `extensions/` registers a function with `code_activation` or `penalty`; its name is then a
value of `model.code_activation` or `penalty.kind`. docs/extending.md shows both.

This module does not import torch, so that checking `params.yaml` stays fast. It describes each
name. The functions are in `rhobeta.model.activations.CODE_ACTIVATIONS` and
`rhobeta.model.penalties.PENALTIES`.
"""

import importlib.util
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from rhobeta.errors import RhobetaError

PenaltyInput = Literal["probability", "mean", "code", "weights", "nothing"]
"""What a penalty is a function of.

probability: log q_j and log (1 - q_j) of the mean activity q_j of bounded codes, and rho
mean: the mean code of each unit, of codes that are never negative, and rho
code: the code of each image
weights: each layer's weight matrix
nothing: there is no penalty
"""

Function = Callable[..., Any]
_Decorated = TypeVar("_Decorated", bound=Function)

_PACKAGE = "rhobeta_extensions."
"""What the names of the imported files begin with."""


@dataclass(frozen=True)
class ActivationSpec:
    """A code activation: the interval that the code lies in, and whether it takes k.

    >>> ACTIVATION_SPECS["tanh"]
    ActivationSpec(low=-1, high=1, takes_k=False)
    """

    low: float
    high: float
    takes_k: bool = False
    """Whether the function is called as f(z, k), with the number of units that stay active."""

    @property
    def bounded(self) -> bool:
        """Whether both ends are finite, so that the scaled mean of the code is a probability."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class PenaltySpec:
    """A sparsity penalty: what it is a function of, and its formula.

    >>> PENALTY_SPECS["kl"].uses_rho, PENALTY_SPECS["l1_code"].uses_rho
    (True, False)
    """

    on: PenaltyInput
    formula: str
    """What beta multiplies, in words and symbols, for reports."""

    @property
    def uses_rho(self) -> bool:
        """Whether the penalty pulls towards a target mean activation."""
        return self.on in ("probability", "mean")


ACTIVATION_SPECS = {
    "sigmoid": ActivationSpec(low=0, high=1),
    "tanh": ActivationSpec(low=-1, high=1),
    "relu": ActivationSpec(low=0, high=math.inf),
    "topk": ActivationSpec(low=0, high=math.inf, takes_k=True),
    "identity": ActivationSpec(low=-math.inf, high=math.inf),
}

PENALTY_SPECS = {
    "kl": PenaltySpec("probability", "sum over units of KL(rho || q)"),
    "kl_poisson": PenaltySpec("mean", "sum over units of rho log(rho / q) - rho + q"),
    "kl_tutorial": PenaltySpec("mean", "sum over units of KL(rho || q), q not bounded"),
    "l1_code": PenaltySpec("code", "mean over images of sum over units of |a|"),
    "l1_weights": PenaltySpec("weights", "sum over weights of |w|"),
    "none": PenaltySpec("nothing", "no penalty"),
}

USER_ACTIVATIONS: dict[str, Function] = {}
USER_LOGITS: dict[str, Function] = {}
USER_PENALTIES: dict[str, Function] = {}
"""The functions that extensions have registered, by name."""

EXTENSIONS: dict[str, bytes] = {}
"""The files that `load_extensions` has imported: their source by the name of the file."""

TABLES: tuple[dict[str, Any], ...] = (
    ACTIVATION_SPECS,
    PENALTY_SPECS,
    USER_ACTIVATIONS,
    USER_LOGITS,
    USER_PENALTIES,
    EXTENSIONS,
)
"""All that an extension changes."""


def code_activation(
    name: str, *, low: float, high: float = math.inf, logits: Function | None = None
) -> Callable[[_Decorated], _Decorated]:
    """Register the decorated function z -> a as the code activation `name`.

    Args:
        name: The value of `model.code_activation` that stands for it.
        low: Lower end of the interval that the code lies in; `-math.inf` for none.
        high: Upper end; default: none.
        logits: For a code with both ends: maps z to logits whose sigmoid is the activity,
            (a - low) / (high - low). Without it, the KL takes the logarithm of the mean activity.

    Raises:
        RhobetaError: The name is taken, low is not below high, or logits are given for a code
            without two finite ends.
    """
    spec = ActivationSpec(low, high)
    if not low < high or (logits is not None and not spec.bounded):
        raise RhobetaError(
            f"the code activation {name!r} cannot be registered with low {low}, high {high}"
            f" and {'no ' if logits is None else ''}logits: low must be below high, and logits"
            " belong to a code with both bounds."
        )

    def register(function: _Decorated) -> _Decorated:
        _require_new(name, ACTIVATION_SPECS)
        ACTIVATION_SPECS[name] = spec
        USER_ACTIVATIONS[name] = function
        if logits is not None:
            USER_LOGITS[name] = logits
        return function

    return register


def penalty(name: str, *, on: PenaltyInput, formula: str) -> Callable[[_Decorated], _Decorated]:
    """Register the decorated function as the penalty `name`.

    Args:
        name: The value of `penalty.kind` that stands for it.
        on: How it is called: `function(log_means, rho)` for "probability", `function(mean, rho)`
            for "mean", `function(code)` for "code", `function(weight)` for "weights". It returns
            one value a unit, a unit, an image or a layer.
        formula: What beta multiplies, for reports.

    Raises:
        RhobetaError: The name is taken, or `on` is unknown.
    """
    known = [kind for kind in get_args(PenaltyInput) if kind != "nothing"]
    if on not in known:
        raise RhobetaError(
            f"the penalty {name!r} cannot be registered on {on!r}; known: {', '.join(known)}."
        )

    def register(function: _Decorated) -> _Decorated:
        _require_new(name, PENALTY_SPECS)
        PENALTY_SPECS[name] = PenaltySpec(on, formula)
        USER_PENALTIES[name] = function
        return function

    return register


def incompatibility(penalty_name: str, activation_name: str) -> str | None:
    """Why a penalty cannot be used on a code, or None where it can.

    >>> incompatibility("kl", "sigmoid") is None
    True
    """
    chosen, code = PENALTY_SPECS[penalty_name], ACTIVATION_SPECS[activation_name]
    named = f"{'an' if activation_name[:1] in set('aeiou') else 'a'} {activation_name} code"
    if chosen.on == "probability" and not code.bounded:
        fitting = [name for name, other in ACTIVATION_SPECS.items() if other.bounded]
        return (
            f"its KL needs a mean activation in (0, 1); the mean of {named} can leave that"
            " interval, where the KL is undefined (NaN)."
            f" Use model.code_activation {' or '.join(fitting)}"
            + (", or penalty.kind kl_poisson, which is defined there" if code.low >= 0 else "")
        )
    if chosen.on == "mean" and code.low < 0:
        return (
            f"it is defined on codes that are never negative, and {named} can be."
            " Use model.code_activation relu or topk"
            + (", or penalty.kind kl" if code.bounded else "")
        )
    return None


def no_target(penalty_name: str, activation_name: str) -> str | None:
    """Why beta cannot be adjusted to an activity of the code, or None where it can.

    >>> no_target("kl", "sigmoid") is None, no_target("l1_code", "relu") is None
    (True, True)
    """
    chosen, code = PENALTY_SPECS[penalty_name], ACTIVATION_SPECS[activation_name]
    if code.takes_k:
        return f"a {activation_name} code has the number of active units that topk.k says"
    if chosen.on in ("weights", "nothing"):
        return (
            f"penalty.kind {penalty_name} does not act on the code; use kl, kl_poisson or l1_code"
        )
    if chosen.on == "code" and code.bounded and code.low < 0:
        return (
            f"penalty.kind {penalty_name} pulls a {activation_name} code to 0, which is not its"
            " lowest activation; use kl"
        )
    return None


def place_of_fault(error: BaseException) -> str | None:
    """The file of `extensions/` in which `error` arose, with the line; None if it was in none."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__", "")).startswith(_PACKAGE):
            return f"extensions/{Path(frame.f_code.co_filename).name}, line {line}"
    return None


def load_extensions(folder: Path) -> None:
    """Import every Python file in `folder`, in the order of their names; each once in a process.

    Raises `RhobetaError` where one cannot be imported, with its name and the reason, and where
    another version of it has been loaded already, since a name stands for one function.
    """
    for path in sorted(path for path in folder.glob("[!.]*.py") if path.is_file()):
        source = path.read_bytes()
        loaded = EXTENSIONS.get(path.name)
        if loaded is not None and loaded != source:
            raise RhobetaError(
                f"{path} is another version of the {path.name} that this process has loaded.\n"
                "Load each version in its own process, or give the files and what they register"
                " other names."
            )
        if loaded is None:
            _import(path)
            EXTENSIONS[path.name] = source


def _import(path: Path) -> None:
    name = f"{_PACKAGE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RhobetaError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = [dict(table) for table in TABLES]
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        # A corrected file must be able to register these names again.
        for table, entries in zip(TABLES, before, strict=True):
            table.clear()
            table.update(entries)
        if isinstance(error, ModuleNotFoundError) and error.name == "rhobeta.registry":
            raise RhobetaError(
                f"extensions/{path.name} imports rhobeta.registry, which is rhobeta.extensions"
                " since version 0.2: change that import."
            ) from error
        # Of a syntax error, Python's own message names the line.
        place = place_of_fault(error) or ""
        raise RhobetaError(
            f"extensions/{path.name} cannot be imported: {type(error).__name__}: {error}"
            f"{place and f' ({place})'}\nCorrect the file, or move it out of extensions/."
        ) from error


def _require_new(name: str, table: dict[str, Any]) -> None:
    if name in table:
        raise RhobetaError(f"{name!r} is registered already; choose another name.")
