"""The one exception that the command shows as a message instead of a traceback."""


class RhobetaError(Exception):
    """A fault that the user can act on.

    The text says what was found, what was expected and what to do next. The `rhobeta` command
    prints it and exits with status 1.
    """
