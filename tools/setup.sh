#!/bin/sh
# Make or renew the virtual environment $1 from requirements.lock.
#
#   PYTHON       the interpreter to make it with (3.11 or later)
#   TORCH_INDEX  take torch and torchvision, in the locked versions, from this index instead of the
#                lock's own: PyTorch's index for CPUs saves several gigabytes of CUDA libraries
set -eu
venv=$1
python=${PYTHON:-python3}

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

rm -f "$venv/.ready"
# An environment that was made with another index for torch stays with it when it is renewed.
TORCH_INDEX=${TORCH_INDEX:-$(cat "$venv/torch-index" 2>/dev/null || true)}
[ -x "$venv/bin/python" ] || "$python" -P -m venv "$venv"
pip() { "$venv/bin/python" -P -m pip --disable-pip-version-check --quiet "$@"; }

echo "installing the environment into $venv (some minutes the first time) ..."
if [ -n "$TORCH_INDEX" ]; then
    echo "$TORCH_INDEX" > "$venv/torch-index"
    # Without the locked torch and all that only CUDA needs; each remaining package keeps its hash.
    awk '/^[^ #]/ { skip = /^(torch|torchvision|triton|nvidia-|cuda-)/ } !skip' requirements.lock \
        > "$venv/requirements-no-torch.txt"
    pip install --require-hashes --no-deps -r "$venv/requirements-no-torch.txt"
    torch=$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements.lock)
    vision=$(sed -n 's/^\(torchvision==[^ ;]*\).*/\1/p' requirements.lock)
    pip install --no-deps --index-url "$TORCH_INDEX" "$torch" "$vision"
else
    pip install --require-hashes --no-deps -r requirements.lock
fi
pip install --no-deps --no-build-isolation --editable .
touch "$venv/.ready"
