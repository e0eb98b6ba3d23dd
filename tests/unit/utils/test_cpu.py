"""The environment of numerical libraries: fixed, given back for `native`, and loaded in time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rhobeta.utils import cpu
from rhobeta.utils.cpu import PORTABLE, fix_instructions, obey_cpu_parameter, reason_for_other_bytes

NATIVE = {"runtime": {"cpu": "native"}}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment of its own, on a CPU with AVX2."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(cpu, "_before", {})
    monkeypatch.setattr(cpu, "reason_for_other_bytes", lambda: None)
    for name in PORTABLE:
        os.environ.pop(name, None)
    return monkeypatch


def found() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in PORTABLE}


def test_native_gives_back_what_the_user_has_set(environment: pytest.MonkeyPatch) -> None:
    os.environ |= {"OPENBLAS_CORETYPE": "Zen", "NPY_ENABLE_CPU_FEATURES": "X86_V4"}
    before = dict(os.environ)
    fix_instructions()
    assert found() == PORTABLE
    assert "NPY_ENABLE_CPU_FEATURES" not in os.environ
    obey_cpu_parameter({"runtime": {"cpu": "portable"}})
    assert found() == PORTABLE
    obey_cpu_parameter(NATIVE)
    assert os.environ == before


def test_native_also_removes_what_a_parent_command_has_set(environment: pytest.MonkeyPatch) -> None:
    os.environ |= PORTABLE
    fix_instructions()
    obey_cpu_parameter(NATIVE)
    assert found() == dict.fromkeys(PORTABLE)


def test_nothing_is_set_where_the_cpu_lacks_avx2(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(cpu, "reason_for_other_bytes", lambda: "the CPU has no AVX2")
    fix_instructions()
    assert found() == dict.fromkeys(PORTABLE)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "sse4_2 avx avx2 fma", None),
        ("x86_64", "sse4_2 avx fma", "no AVX2"),
        ("aarch64", "asimd", "is aarch64"),
    ],
)
def test_reason_names_what_the_cpu_lacks(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, expected: str | None
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"flags : {flags}\n")
    assert reason_for_other_bytes("native") == "runtime.cpu is native"
    reason = reason_for_other_bytes()
    assert reason == expected if expected is None else expected in str(reason)


@pytest.mark.skipif(reason_for_other_bytes() is not None, reason="this CPU has no AVX2")
@pytest.mark.slow
def test_command_fixes_them_before_a_numerical_library_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from rhobeta.cli import main; from rhobeta.utils import cpu\n"
        "def fixed():\n"
        "    assert not {'numpy', 'torch', 'scipy'} & set(sys.modules), 'too late'; old()\n"
        "old, cpu.fix_instructions = cpu.fix_instructions, fixed\n"
        "import rhobeta.cli; rhobeta.cli.fix_instructions = fixed\n"
        "sys.argv = ['rhobeta', 'presets']; main()\n"
        "import numpy, torch, scipy.linalg, threadpoolctl\n"
        "x = torch.ones(64, 64)\n"
        "torch.ops.mkldnn._linear_pointwise(x, x, None, 'none', [], '')\n"
        "torch.mm(x.double(), x.double())\n"
        "print('torch', torch.backends.cpu.get_cpu_capability())\n"
        "print('numpy', numpy._core._multiarray_umath.__cpu_features__['X86_V4'])\n"
        "pools = threadpoolctl.threadpool_info()\n"
        "print('openblas', *{pool['architecture'] for pool in pools if 'blas' in pool['prefix']})\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.splitlines()
    assert {"torch AVX2", "numpy False", "openblas Haswell"} <= set(said)
    isa = next(line for line in said if "isa:" in line)
    assert isa.endswith("AVX2")
    assert "CNR:COMPATIBLE" in next(line for line in said if line.startswith("MKL_VERBOSE DGEMM"))
