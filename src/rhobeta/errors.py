"""The error that the command shows as a message instead of a traceback."""

import difflib
from collections.abc import Iterable


class RhobetaError(Exception):
    """A fault that the user can act on.

    The text says what was found, what was expected and what to do next. The `rhobeta` command
    prints it and exits with status 1.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`. Did you mean X?` where one of `known` is close to `name`, else nothing.

    >>> did_you_mean("penalty.rh", ["penalty.rho", "penalty.beta"])
    '. Did you mean penalty.rho?'
    >>> did_you_mean("zzz", ["penalty.rho"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f". Did you mean {near[0]}?" if near else ""
