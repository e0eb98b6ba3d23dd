#!/bin/sh
# Resolve pyproject.toml into requirements.lock: names, versions and hashes, no addresses.
# Needs uv (pip install uv). Pass --upgrade to take newer versions than the lock has.
set -eu
uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --quiet "$@" \
    --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
    --output-file requirements.lock
{
    echo "# Every package with its hashes, for Python 3.11 and later. Made by: make lock"
    echo "# (uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes)"
    cat requirements.lock
} > requirements.lock.part
mv requirements.lock.part requirements.lock
