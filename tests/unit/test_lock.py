"""The locks of the environment: all that is asked for, with hashes."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-dev.lock")
_LINE = re.compile(r"#.*|(\S+==\S+( ; [^\\]+)?) \\|    --hash=sha256:[0-9a-f]{64}( \\)?")


def locked(name: str) -> dict[str, Requirement]:
    found = {}
    for line in (REPOSITORY / name).read_text().splitlines():
        match = _LINE.fullmatch(line)
        assert match, f"neither a package nor a hash: {line}"
        if match[1]:
            requirement = Requirement(match[1])
            found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_of_a_lock_has_a_hash_and_no_address(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    packages = re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)[1:]
    # Some packages have a version for each Python or system.
    assert len(packages) >= len(locked(name)) > 20
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text


def test_the_locks_hold_what_the_project_asks_for() -> None:
    run, dev = map(locked, LOCKS)
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    asked += extras["pipeline"]
    for text, known in [*((t, run) for t in asked), *((t, run | dev) for t in extras["dev"])]:
        wanted = Requirement(text)
        (version,) = known[canonicalize_name(wanted.name)].specifier
        assert wanted.specifier.contains(version.version), text
    # What linters and tests need is not installed to run the pipeline.
    assert {"pytest", "ruff", "mypy", "hypothesis", "psycopg", "boto3"} <= dev.keys() - run.keys()
