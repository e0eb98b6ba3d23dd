"""The same bytes of every output on CPUs of Intel and AMD, for any user, with any threads."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from helpers import QUICK, make_project, write_params
from helpers.emulator import emulator
from rhobeta.utils.cpu import reason_for_other_bytes

SCRIPT = Path(__file__).parents[1] / "helpers" / "all_stages.py"
CPUS = ("Haswell", "EPYC-Rome")
# t-SNE, every task, noise, two epochs; little of each, since an emulator takes long.
SETTINGS = QUICK | {
    "model.hidden_sizes": [8],
    "training.noise": 0.1,
    "evaluate.sparse_probe_units": [2],
    "evaluate.few_labels": [5],
    "evaluate.noise": [0.3],
    "visualize.embedding": "tsne",
    "visualize.embedding_images": 50,
    "visualize.dpi": 40,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(reason_for_other_bytes() is not None, reason="NOT TESTED: no AVX2 here"),
]

Outputs = dict[str, bytes]


@contextmanager
def started(
    folder: Path,
    *,
    threads: int = 1,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Callable[[], Outputs]]:
    """Start all stages in a new project in `folder`; the function waits for their outputs."""
    make_project(folder)
    _shrink(folder / "data" / "own" / "digits.npz")
    write_params(folder, SETTINGS | {"runtime.threads": threads})
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-P", str(SCRIPT)],
            cwd=folder,
            env=os.environ | dict.fromkeys(names, str(threads)) | (environment or {}),
            stdout=said,
            stderr=subprocess.STDOUT,
        )

    def outputs() -> Outputs:
        assert process.wait(timeout=1200) == 0, (folder / "said").read_text()
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for place in ("data/raw", "data/processed", "models", "reports")
            for path in sorted((folder / place).rglob("*"))
            if path.is_file()
        } | {"data/baselines": (folder / "data" / "baselines.safetensors").read_bytes()}

    try:
        yield outputs
    finally:
        process.kill()
        process.wait()


def _shrink(archive: Path) -> None:
    """Half of the digits, every other row and column: an emulator takes long for products."""
    with np.load(archive) as content:
        smaller = {
            name: content[name][::2, ::2, ::2] if "images" in name else content[name][::2]
            for name in content.files
        }
    np.savez(archive, **smaller)


def other_files(first: Outputs, second: Outputs) -> list[str]:
    """Names of the outputs that are not the same bytes in both."""
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """The outputs on this CPU with one thread."""
    with started(tmp_path_factory.mktemp("native") / "project") as outputs:
        found = outputs()
    assert {"models/autoencoder.safetensors", "reports/figures/embedding.png"} <= found.keys()
    return found


def test_every_output_is_the_same_on_other_cpus(native: Outputs, tmp_path: Path) -> None:
    program = emulator()
    first, second = CPUS
    with (
        started(tmp_path / first, prefix=(program, "-cpu", first)) as of_first,
        started(tmp_path / second, prefix=(program, "-cpu", second)) as of_second,
    ):
        assert other_files(native, of_first()) == []
        assert other_files(native, of_second()) == []


USER, ZONE = "grace", "America/New_York"


def test_every_output_is_the_same_for_another_user_with_more_threads(
    native: Outputs, tmp_path: Path
) -> None:
    folder = tmp_path / "a much longer folder" / "project"
    (tmp_path / "home").mkdir()
    environment = {
        **dict.fromkeys(("HOME", "TMPDIR"), str(tmp_path / "home")),
        **dict.fromkeys(("USER", "LOGNAME"), USER),
        **dict.fromkeys(("LANG", "LC_ALL"), "C"),
        "TZ": ZONE,
        "PYTHONHASHSEED": "4242",
    }
    before = os.umask(0o077)
    try:
        with started(folder, threads=3, environment=environment) as outputs:
            found = outputs()
    finally:
        os.umask(before)
    assert other_files(native, found) == []
    marks = [word.encode() for word in (str(folder), USER, ZONE)]
    assert [name for name in found if any(mark in found[name] for mark in marks)] == []
