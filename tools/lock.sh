#!/bin/sh
# Resolve pyproject.toml into requirements.lock, what the program and its build need, and
# requirements-dev.lock, what linters and tests need besides: names, versions and hashes, no addresses.
# Needs uv (pip install uv). Pass --upgrade to take newer versions than the locks have.
set -eu
all=$(mktemp) run=$(mktemp) dev=$(mktemp)
trap 'rm -f "$all" "$run" "$dev"' EXIT
compile() {
    uv pip compile --universal --python-version 3.11 --quiet --generate-hashes --no-annotate \
        --no-header --no-emit-index-url --no-emit-find-links "$@" > /dev/null
}
# $1 with its comment becomes the lock $2.
write() {
    {
        echo "# Every package with its hashes, for Python 3.11 and later. Made by: make lock"
        cat "$1"
    } > "$2.part"
    mv "$2.part" "$2"
}

cat requirements.lock requirements-dev.lock > "$all"
compile pyproject.toml --extra pipeline --extra dev "$@" --output-file "$all"
# setuptools builds the project, and the one package that has no wheel (tools/setup.sh).
echo "setuptools>=77" | compile pyproject.toml - --extra pipeline --constraint "$all" --output-file "$run"
write "$run" requirements.lock
# A block begins with the package; those that both have are the program's.
awk 'NR == FNR { known[$0]; next } /^[^ ]/ { skip = $0 in known } !skip' "$run" "$all" > "$dev"
write "$dev" requirements-dev.lock
