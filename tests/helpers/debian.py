"""Programs that tests need, from Debian's packages."""

import os
import shutil
import subprocess


def install(package: str) -> None:
    """Install a package where this is Debian and the user is root; else do nothing."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return
    for command in (["update"], ["install", "--yes", package]):
        subprocess.run(
            ["apt-get", "--quiet", "--quiet", *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
            capture_output=True,
            timeout=300,
        )
