"""QEMU's user-mode emulator: this machine's programs on another x86-64 CPU."""

import platform
import shutil

import pytest

from helpers.debian import install

_PROGRAM = "qemu-x86_64"


def emulator() -> str:
    """The emulator's command, installing Debian's where there is none.

    Skips, and says why, where there is none and none can be installed.
    """
    if platform.machine() != "x86_64":
        pytest.skip(f"NOT TESTED: other x86-64 CPUs, since this one is {platform.machine()}")
    if shutil.which(_PROGRAM) is None:
        install("qemu-user")
    found = shutil.which(_PROGRAM)
    if found is None:
        pytest.skip(
            "NOT TESTED: no emulator of other CPUs here, and none could be installed. Install one"
            " (Debian: apt-get install qemu-user) and run this test again."
        )
    return found
