"""Presets: named parameter overlays in `presets/`, and how DVC runs one.

A preset names what differs from `presets/base.yaml`, whose values never change. So it means the
same whatever `params.yaml` holds.
"""

import getpass
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from rhobeta.config.params import Params, check_params, merged, read_yaml
from rhobeta.config.renamed import PARAMETERS
from rhobeta.errors import RhobetaError, did_you_mean
from rhobeta.utils.git import run_git

# Text that DVC reads as text without quotes.
_WORD = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z][a-z0-9_-]*", re.IGNORECASE)

BASE = "base.yaml"


def preset_names(folder: Path) -> list[str]:
    """The presets in `folder`, by name; `base.yaml` is none."""
    return sorted(
        path.stem for path in folder.glob("[!.]*.yaml") if path.is_file() and path.name != BASE
    )


def preset_title(folder: Path, name: str) -> str:
    """The first line of a preset's comment: what it is."""
    return preset_comment(folder, name).partition("\n")[0]


def preset_comment(folder: Path, name: str) -> str:
    """The comment at the head of a preset, without its signs."""
    lines = (folder / f"{name}.yaml").read_text("utf-8", "replace").splitlines()
    head = takewhile(lambda line: line.startswith("#"), lines)
    return "\n".join(line.removeprefix("#").strip() for line in head)


def read_preset(folder: Path, name: str) -> dict[str, Any]:
    """A preset's values by dotted path: those of the file that it `extends`, and its own.

    Raises `RhobetaError` where there is none of that name, with the nearest, and where a file is
    not made of sections.
    """
    names = preset_names(folder)
    if name not in names:
        known = f"known: {', '.join(names)}{did_you_mean(name, names)}"
        raise RhobetaError(f"There is no preset {name!r}; {known}")
    path = folder / f"{name}.yaml"
    values = read_yaml(path)
    base = values.pop("extends", None) if isinstance(values, dict) else None
    own = _leaves(values, path)
    if base is None:
        return own
    if not isinstance(base, str):
        raise RhobetaError(f"{path}: extends: found {base!r}, expected the name of a file.")
    below = (folder / base).resolve()
    if not below.is_file():
        raise RhobetaError(f"{path} extends {base}, which is missing; expected {BASE}.")
    extended = read_yaml(below)
    if isinstance(extended, dict) and "extends" in extended:
        raise RhobetaError(f"{path} extends {base}, which extends a file itself; name {BASE}.")
    return _leaves(extended, below) | own


def _leaves(values: Any, path: Path) -> dict[str, Any]:
    if not (
        isinstance(values, dict)
        and all(isinstance(section, dict) for section in values.values())
        and all(isinstance(key, str) for part in (values, *values.values()) for key in part)
    ):
        raise RhobetaError(f"{path} is no preset: expected sections with parameters.")
    return {
        f"{section}.{key}": value for section, part in values.items() for key, value in part.items()
    }


def overlaid(values: dict[str, Any], overlay: dict[str, Any], *, name: str) -> Params:
    """Parameters `values` with an overlay by dotted path, checked. Raises `RhobetaError`."""
    check_params(values, where="params.yaml")
    return check_params(merged(values, overlay), where=f"params.yaml with the preset {name}")


def run_preset(params: Path, folder: Path, name: str | None, arguments: Sequence[str]) -> int:
    """Run a preset as a DVC experiment; returns DVC's exit status.

    The preset's values are checked together with the parameter file `params`, then set with `-S`.
    `arguments` go to `dvc exp run` after them, so that a further `-S` wins. The experiment gets
    the preset's name, with a number where that is taken, unless `arguments` name or queue it.
    Where `name` is None, `params` is run as it is. Raises `RhobetaError` where the preset is
    unknown or a value is invalid.
    """
    for old, new in PARAMETERS.items():
        if any(f"{old}=" in argument for argument in arguments):
            raise RhobetaError(f"{old} is {new} since version 0.2.")
    overlay = {} if name is None else read_preset(folder, name)
    overlaid(read_yaml(params), overlay, name=str(name))
    settings = [f"--set-param={path}={as_override(value)}" for path, value in overlay.items()]
    # The DVC of this environment; -P: without importing from the current folder.
    command = [sys.executable, "-P", "-m", "dvc", "exp", "run", *settings, *arguments]
    # DVC names queued experiments, since two of one preset may wait.
    named = any(word.startswith(("-n", "--name", "--queue")) for word in arguments)
    if name is not None and not named:
        command.append(f"--name={_free_name(params.parent, name)}")
    return subprocess.run(command, cwd=params.parent, env=dvc_environment(), check=False).returncode


def dvc_environment() -> dict[str, str]:
    """The environment of a `dvc` that the command starts."""
    # A stage of the user's own may import from its folder, as it does in `dvc repro`.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    try:
        getpass.getuser()
    except (KeyError, OSError):
        # DVC asks for the name of the user, which a user id in a container may not have.
        environment["LOGNAME"] = str(os.getuid())
    return environment


def _free_name(folder: Path, name: str) -> str:
    listed = run_git(folder, "for-each-ref", "--format=%(refname)", "refs/exps").stdout
    taken = {name.rpartition("/")[2] for name in listed.decode(errors="replace").splitlines()}
    free = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(candidate for candidate in free if candidate not in taken)


def as_override(value: Any) -> str:
    """A value as DVC's `-S` reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{','.join(as_override(item) for item in value)}]"
    if isinstance(value, str) and not _WORD.fullmatch(value):
        # Backslashes are doubled before a quote alone, and where the text ends.
        escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
        return f"'{escaped}'"
    return str(value)
