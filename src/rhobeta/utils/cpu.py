"""Which instructions of the CPU the numerical libraries use: the same on every x86-64 machine.

A library that finds wider registers, or another vendor's CPU, adds the terms of a sum in another
order: the last digits differ, and so do the bytes of every output. The libraries are told by
variables of the environment, which they read as they are loaded and which child processes inherit.
"""

import os
import platform
from pathlib import Path
from typing import Any

PORTABLE = {
    # PyTorch's own kernels (sums, activations, random numbers) exist for AVX2 and for AVX-512.
    "ATEN_CPU_CAPABILITY": "avx2",
    # oneDNN writes the code of matrix products for the CPU at hand: AVX-512, AMX, ...
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # PyTorch's MKL computes exp, log, sqrt and LAPACK; this is its only path that is the same on
    # Intel and AMD. It makes MKL's matrix products slow, so that those of a training are oneDNN's.
    "MKL_CBWR": "COMPATIBLE",
    # OpenBLAS has kernels for each family of CPUs. NumPy and SciPy each bring their own OpenBLAS.
    "OPENBLAS_CORETYPE": "Haswell",
    # NumPy's loops (exp, log, sums, sorts), by NumPy 2.4's names of what is wider than AVX2.
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
"""The variables that fix the instructions, each with the library's word for AVX2."""

# NumPy refuses to start where features are both enabled and disabled.
_EXCLUDED = "NPY_ENABLE_CPU_FEATURES"

_before: dict[str, str | None] = {}


def fix_instructions() -> None:
    """Let every numerical library that is loaded from now on use AVX2, and nothing wider.

    Values that the user has set are replaced. Where the CPU has no AVX2 nothing is set: a library
    would take the word for it, and crash.
    """
    if reason_for_other_bytes() is not None:
        return
    for name in (*PORTABLE, _EXCLUDED):
        value = os.environ.pop(name, None)
        # A command that started this one may have set it.
        _before.setdefault(name, None if value == PORTABLE.get(name) else value)
    os.environ.update(PORTABLE)


def obey_cpu_parameter(values: Any) -> None:
    """Undo `fix_instructions` where `values`, those of params.yaml, have `runtime.cpu: native`.

    Called before any numerical library is loaded; the values need not be checked.
    """
    runtime = values.get("runtime") if isinstance(values, dict) else None
    if not (isinstance(runtime, dict) and runtime.get("cpu") == "native"):
        return
    for name, value in _before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    _before.clear()


def reason_for_other_bytes(cpu: str = "portable") -> str | None:
    """Why results have other bytes here than on other CPUs; None where they have not.

    `cpu` is `runtime.cpu`.
    """
    if cpu == "native":
        return "runtime.cpu is native"
    machine = platform.machine()
    if machine not in ("x86_64", "AMD64"):
        return f"the CPU is {machine}, not x86-64"
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return "this system does not say what instructions the CPU has"
    lacking = [name for name in ("avx2", "fma") if name not in words]
    return f"the CPU has no {lacking[0].upper()}" if lacking else None
