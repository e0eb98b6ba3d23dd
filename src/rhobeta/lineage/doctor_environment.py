"""Python and the packages: within the ranges that the project asks for, and no known bad pair."""

import platform
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rhobeta.lineage.doctor_finding import Finding, fault, ok

_SETUP = "Run `make setup`, which installs the versions of requirements.lock."
_MALWARE = ("2.6.2", "2.6.3")


def check_environment(workspace: Path) -> list[Finding]:
    """Of Python, of every package that pyproject.toml names, and of pairs that must match."""
    return [*_python(workspace), *_packages(workspace), *_lightning(), *_torch_pair()]


def _requirements(workspace: Path) -> tuple[str, list[Requirement]]:
    """Of the workspace's pyproject.toml, else of the program as it was installed."""
    file = workspace / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        return project.get("requires-python", ""), [
            Requirement(text) for text in project.get("dependencies", [])
        ]
    of_package = metadata.metadata("rhobeta").json.get("requires_python", "")
    every = [Requirement(text) for text in metadata.requires("rhobeta") or []]
    return str(of_package), [one for one in every if one.marker is None or one.marker.evaluate()]


def _python(workspace: Path) -> list[Finding]:
    asked, found = _requirements(workspace)[0], platform.python_version()
    if SpecifierSet(asked).contains(found, prereleases=True):
        return [ok("python", found)]
    return [
        fault(
            "python",
            f"{found}, but the project asks for {asked}",
            "Run `make setup PYTHON=python3.12`, or with another that fits.",
        )
    ]


def _packages(workspace: Path) -> list[Finding]:
    faults, fitting = [], 0
    for asked in _requirements(workspace)[1]:
        found = version_of(asked.name)
        if found is None:
            faults.append(fault("packages", f"{asked.name} is not installed", _SETUP))
        elif not asked.specifier.contains(found, prereleases=True):
            faults.append(
                fault("packages", f"{asked.name} {found}, but the project asks for {asked}", _SETUP)
            )
        else:
            fitting += 1
    return faults or [ok("packages", f"{fitting} in the ranges of pyproject.toml")]


def _lightning() -> list[Finding]:
    found = version_of("lightning")
    if found in _MALWARE:
        return [
            fault(
                "lightning",
                f"{found}, which is malware (GHSA-w37p-236h-pfx3)",
                "Uninstall it, change every secret that this machine could read, and make the"
                " environment anew (`rm -r .venv && make setup`).",
            )
        ]
    if found is not None and version_of("pytorch-lightning") is not None:
        return [
            fault(
                "lightning",
                f"both lightning {found} and pytorch_lightning, whose classes do not know each"
                " other",
                "pip uninstall lightning",
            )
        ]
    return [ok("lightning", "pytorch_lightning alone")]


def _torch_pair() -> list[Finding]:
    torch, vision = version_of("torch"), version_of("torchvision")
    if torch is None or vision is None:
        return []  # Said already.
    pair = f"torch {torch} with torchvision {vision}"
    wanted = [Requirement(text) for text in metadata.requires("torchvision") or []]
    fits = all(one.specifier.contains(torch, True) for one in wanted if one.name == "torch")
    builds = {version.partition("+")[2] for version in (torch, vision)}
    if fits and len(builds) == 1:
        return [ok("torch", pair)]
    return [
        fault(
            "torch",
            f"{pair}, which are no pair: importing torchvision fails, or crashes",
            "Install both, in the versions of requirements.lock, from the same index.",
        )
    ]


def version_of(package: str) -> str | None:
    """The installed version; None where the package is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
