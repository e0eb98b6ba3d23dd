"""Which code activations and penalties there are, by name; files in `extensions/` add to them.

Nothing here imports torch: the names and their ranges are known to the check of `params.yaml`,
the functions are imported when a model is built. docs/extending.md shows both registrations.
"""

import importlib
import importlib.util
import math
import sys
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

_Function = TypeVar("_Function", bound=Callable[..., Any])
_BUILT_IN = "rhobeta.model.activations"
_PENALTIES = "rhobeta.model.penalties"


@dataclass(frozen=True)
class CodeActivation:
    """How the code a is had from its pre-activation z, and the interval that it lies in."""

    function: Callable[..., Any] | str
    """a = function(z), shapes [batch, units]; or its place, `module:name`."""
    low: float
    high: float
    logits: Callable[..., Any] | str | None = None
    """For codes in an interval: z -> logits whose sigmoid is the activity, where they exist."""
    takes_k: bool = False
    """Whether the function is function(z, k), with the number of units that it leaves active."""

    @property
    def bounded(self) -> bool:
        """Whether the code lies in an interval, so that its mean is a probability once scaled."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Penalty:
    """A sparsity penalty: what it is a function of, and how it is written."""

    function: Callable[..., Any] | str | None
    on: PenaltyInput
    formula: str
    """What beta multiplies, in words and symbols, for reports."""

    @property
    def uses_rho(self) -> bool:
        """Whether the penalty pulls towards a target mean activation."""
        return self.on in ("probability", "mean")


CODE_ACTIVATIONS: dict[str, CodeActivation] = {
    "sigmoid": CodeActivation(
        f"{_BUILT_IN}:sigmoid", low=0, high=1, logits=f"{_BUILT_IN}:sigmoid_logits"
    ),
    "tanh": CodeActivation(f"{_BUILT_IN}:tanh", low=-1, high=1, logits=f"{_BUILT_IN}:tanh_logits"),
    "relu": CodeActivation(f"{_BUILT_IN}:relu", low=0, high=math.inf),
    "topk": CodeActivation(f"{_BUILT_IN}:topk", low=0, high=math.inf, takes_k=True),
    "identity": CodeActivation(f"{_BUILT_IN}:identity", low=-math.inf, high=math.inf),
}

PENALTIES: dict[str, Penalty] = {
    "kl": Penalty(f"{_PENALTIES}:bernoulli_kl", "probability", "sum over units of KL(rho || q)"),
    "kl_poisson": Penalty(
        f"{_PENALTIES}:poisson_kl", "mean", "sum over units of rho log(rho / q) - rho + q"
    ),
    "kl_tutorial": Penalty(
        f"{_PENALTIES}:tutorial_kl", "mean", "sum over units of KL(rho || q), q not bounded"
    ),
    "l1_code": Penalty(
        f"{_PENALTIES}:l1_code", "code", "mean over images of sum over units of |a|"
    ),
    "l1_weights": Penalty(f"{_PENALTIES}:l1_weights", "weights", "sum over weights of |w|"),
    "none": Penalty(None, "nothing", "no penalty"),
}

EXTENSIONS: dict[str, bytes] = {}
"""The files that `load_extensions` has imported: their source by the name of the file."""


def code_activation(
    name: str, *, low: float, high: float = math.inf, logits: Callable[..., Any] | None = None
) -> Callable[[_Function], _Function]:
    """Register the decorated function z -> a as the code activation `name`.

    The code lies in [low, high]. For a bounded one, `logits` gives from z the logits whose sigmoid
    is (a - low) / (high - low); without it the KL takes the logarithm of the mean activity.
    Raises `RhobetaError` where the name is taken, the interval is none, or logits are given for a
    code without bounds.
    """
    entry = CodeActivation("", low, high, logits)
    if not low < high or (logits is not None and not entry.bounded):
        raise RhobetaError(
            f"the code activation {name!r} cannot be registered with low {low}, high {high}"
            f" and {'no ' if logits is None else ''}logits: low must be below high, and logits"
            " belong to a code with both bounds."
        )

    def register(function: _Function) -> _Function:
        _add(CODE_ACTIVATIONS, name, CodeActivation(function, low, high, logits))
        return function

    return register


def penalty(name: str, *, on: PenaltyInput, formula: str) -> Callable[[_Function], _Function]:
    """Register the decorated function as the penalty `name`.

    It is called as `function(log_means, rho)`, `function(mean, rho)`, `function(code)` or
    `function(weight)`, as `on` says, and returns one value a unit, a unit, an image or a layer.
    Raises `RhobetaError` where the name is taken or `on` is unknown.
    """
    known = [kind for kind in get_args(PenaltyInput) if kind != "nothing"]
    if on not in known:
        raise RhobetaError(
            f"the penalty {name!r} cannot be registered on {on!r}; known: {', '.join(known)}."
        )

    def register(function: _Function) -> _Function:
        _add(PENALTIES, name, Penalty(function, on, formula))
        return function

    return register


def incompatibility(penalty_name: str, activation_name: str) -> str | None:
    """Why a penalty cannot be used on a code, or None where it can."""
    chosen, code = PENALTIES[penalty_name], CODE_ACTIVATIONS[activation_name]
    named = f"{'an' if activation_name[:1] in set('aeiou') else 'a'} {activation_name} code"
    if chosen.on == "probability" and not code.bounded:
        fitting = [name for name, other in CODE_ACTIVATIONS.items() if other.bounded]
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


def resolve(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """The function itself, imported where only its place is known."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def load_extensions(folder: Path) -> None:
    """Import every Python file in `folder`, in the order of their names; each once in a process.

    Raises `RhobetaError` where one cannot be imported, with its name and the reason, and where
    another version of it has been loaded already, since a name stands for one function.
    """
    for path in sorted(path for path in folder.glob("*.py") if path.is_file()):
        source = path.read_bytes()
        loaded = EXTENSIONS.get(path.name)
        if loaded is not None and loaded != source:
            raise RhobetaError(
                f"{path} is another version of the {path.name} that this process has loaded.\n"
                "Load the two in processes of their own, or give the files and what they register"
                " other names."
            )
        if loaded is None:
            _import(path)
            EXTENSIONS[path.name] = source


def _import(path: Path) -> None:
    name = f"rhobeta_extensions.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RhobetaError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    tables: tuple[dict[str, Any], ...] = (CODE_ACTIVATIONS, PENALTIES)
    before = [dict(table) for table in tables]
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        # What it registered before it failed would be in the way of the mended file.
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)
        raise RhobetaError(
            f"extensions/{path.name} cannot be imported: {type(error).__name__}: {error}\n"
            "Mend the file, or move it out of extensions/."
        ) from error


def _add(table: dict[str, Any], name: str, entry: Any) -> None:
    if name in table:
        raise RhobetaError(f"{name!r} is registered already; choose another name.")
    table[name] = entry
