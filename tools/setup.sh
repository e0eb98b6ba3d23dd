#!/bin/sh
# Make or renew the virtual environment $1 with what the program needs, from requirements.lock.
# With `dev` as $2: add what linters and tests need, from requirements-dev.lock.
#
#   PYTHON       the interpreter to make it with (3.11 or later)
#   TORCH_INDEX  take torch and torchvision, in the locked versions, from this index instead of the
#                lock's own: PyTorch's index for CPUs saves several gigabytes of CUDA libraries
#
# Every package is a wheel with a hash in the lock, and runs no code when it is installed. Exceptions:
# antlr4-python3-runtime has no wheel, and the locked setuptools builds its hashed source; torch and
# torchvision from TORCH_INDEX have no hash.
set -eu
venv=$1
python=${PYTHON:-python3}
pip() { "$venv/bin/python" -P -m pip --disable-pip-version-check --quiet "$@"; }
locked() { pip install --require-hashes --no-deps "$@"; }

if [ "${2:-}" = dev ]; then
    rm -f "$venv/.dev-ready"
    locked --only-binary :all: -r requirements-dev.lock
    touch "$venv/.dev-ready"
    exit
fi

command -v git >/dev/null || { echo "git is not installed; install it and try again" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$("$python" --version) at $(command -v "$python") is too old; 3.11 or later is needed." >&2
    echo "Name another: make setup PYTHON=python3.12" >&2
    exit 1
}

# pip writes the path of the environment into scripts, where sh or the kernel would read these.
"$python" -P -c 'import os, re, sys
sys.exit(re.search(r"[\0-\x1f\x7f:\"$`\\\ud800-\udfff]", os.getcwd()) is not None)' || {
    echo "Python cannot have an environment below a folder with a control character, a byte that is" >&2
    echo "not UTF-8, or one of : \" \$ \` \\ in its path. Rename it and run this again." >&2
    exit 1
}

# An environment that was made with another index for torch stays with it when it is renewed.
TORCH_INDEX=${TORCH_INDEX:-$(cat "$venv/torch-index" 2>/dev/null || true)}
here() { CDPATH='' cd "$venv" && pwd -P; }
# The commands of one that was moved or copied start the Python of the old place.
if [ -s "$venv/.ready" ] && [ "$(cat "$venv/.ready")" != "$(here)" ]; then
    rm -r "$venv"
fi
rm -f "$venv/.ready"
[ -x "$venv/bin/python" ] || "$python" -P -m venv "$venv"

echo "installing the environment into $venv (some minutes the first time) ..."
source='antlr4-python3-runtime'
# torch and what only its CUDA build needs.
cuda='torch==|torchvision==|triton==|nvidia-|cuda-'
# The packages of the lock whose names begin with one of $1 (with $2 = 1), or with none (0).
packages() {
    awk -v names="^($1)" -v wanted="$2" '/^[^ #]/ { found = $0 ~ names } found == wanted' \
        requirements.lock
}
packages "$source${TORCH_INDEX:+|$cuda}" 0 > "$venv/wheels.txt"
packages "$source" 1 > "$venv/source.txt"
locked --only-binary :all: -r "$venv/wheels.txt"
locked --no-build-isolation --use-pep517 -r "$venv/source.txt"
if [ -n "$TORCH_INDEX" ]; then
    echo "$TORCH_INDEX" > "$venv/torch-index"
    pair=$(sed -nE 's/^((torch|torchvision)==[^ ;]*).*/\1/p' requirements.lock)
    # shellcheck disable=SC2086  # two words
    pip install --no-deps --only-binary :all: --index-url "$TORCH_INDEX" $pair
fi
pip install --no-deps --no-build-isolation --editable .

# DVC unpickles what lies in its site cache, which is by default /var/tmp/dvc, writable by everyone.
private=${XDG_CACHE_HOME:-$HOME/.cache}/rhobeta
mkdir -p "$private/dvc" || { echo "Set XDG_CACHE_HOME to a folder that you can write to." >&2; exit 1; }
chmod 700 "$private" "$private/dvc"
"$venv/bin/dvc" config --quiet --local core.site_cache_dir "$private/dvc"
(here) > "$venv/.ready"
