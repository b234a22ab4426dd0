"""What graphzoo finds on this machine, and what could be better: the text of ``graphzoo doctor``.

`probe` reads the machine, `advice` and `render` turn its readings into text. Nothing here changes a setting:
the threads and kernels of BLAS belong to the whole process, and so to whoever started it.
"""

import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .kernels.blas import TIMEOUT, libraries
from .kernels.select import state

# The OpenBLAS cores whose kernels use AVX-512, as it names them.
AVX512_CORES = {"skylakex", "cooperlake", "sapphirerapids"}
# What NumPy calls a processor with everything that those kernels need (F, CD, BW, DQ and VL).
AVX512_FEATURES = {"AVX512_SKX", "X86_V4"}

# Each BLAS by a part of its name, and the variable that sets its threads; OpenMP's is heeded by them all.
THREAD_VARIABLES = {
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
    "accelerate": "VECLIB_MAXIMUM_THREADS",
}
VARIABLES = (
    "OPENBLAS_CORETYPE",
    *THREAD_VARIABLES.values(),
    "OMP_NUM_THREADS",
    TIMEOUT,
    "NPY_DISABLE_CPU_FEATURES",
    "GRAPHZOO_FAST",
)

# The extras a user may want: their packages, and what they are for.
EXTRAS = {
    "fast": (("numba",), "compiled kernels, several times as fast for normalisation, softmax and activations"),
    "plot": (("matplotlib",), "the plots that `graphzoo demo` leaves"),
    "draw": (("pygraphviz", "latex2mathml"), "Graphviz as a Python package, and formulas on the pages of graphs"),
    "bench": (("torch", "autograd", "mygrad"), "`python -m benchmarks`"),
}


@dataclass(frozen=True)
class Readings:
    """What was found; None stands for a package or program that is missing and for a figure not to be had."""

    python: str
    packages: Mapping[str, str | None]
    processor: str
    cores: int
    avx512: bool
    blas: str
    blas_version: str
    blas_core: str | None
    blas_threads: int | None
    kernels: str
    dot: str | None
    environment: Mapping[str, str]


def report() -> str:
    """Versions, BLAS and its kernels, threads, Graphviz, extras, and advice on what could be better.

    >>> print(report().splitlines()[0])
    graphzoo doctor
    """
    return render(probe())


def render(readings: Readings) -> str:
    """The report on `readings`."""
    found = readings.packages
    lines = [("python", readings.python)]
    lines += [(name, found[name] or "missing") for name in ("graphzoo", "numpy", "networkx", "graphviz")]
    lines += [
        ("processor", _processor(readings)),
        ("BLAS", _blas(readings)),
        ("kernels", readings.kernels),
        ("dot", readings.dot or "missing"),
    ]
    for extra, (packages, _) in EXTRAS.items():
        lines.append((f"extra {extra}", ", ".join(f"{name} {found[name] or 'missing'}" for name in packages)))
    settings = [f"{name}={value}" for name, value in readings.environment.items()]
    lines.append(("environment", ", ".join(settings) or "nothing set"))

    text = ["graphzoo doctor", ""]
    text += [f"{label:<13}{value}" for label, value in lines]
    advised = advice(readings)
    text += ["", "Advice:" if advised else "Advice: none, all is well."]
    text += [f"- {line}" for line in advised]
    return "\n".join(text)


def _processor(readings: Readings) -> str:
    cores = "1 core" if readings.cores == 1 else f"{readings.cores} cores"
    return f"{readings.processor}, {cores} usable" + (", AVX-512" if readings.avx512 else "")


def _blas(readings: Readings) -> str:
    parts = [f"{readings.blas} {readings.blas_version}".strip()]
    if readings.blas_core is not None:
        parts.append(f"{readings.blas_core} kernels")
    if readings.blas_threads is not None:
        parts.append("1 thread" if readings.blas_threads == 1 else f"{readings.blas_threads} threads")
    return ", ".join(parts)


def advice(readings: Readings) -> list[str]:
    """One line for each thing that could be better; empty when there is nothing."""
    lines = [_kernel_advice(readings), _thread_advice(readings), _dot_advice(readings)]
    lines += [_extra_advice(readings, extra) for extra in EXTRAS]
    return [line for line in lines if line is not None]


def _kernel_advice(readings: Readings) -> str | None:
    if readings.blas == "none":
        return "NumPy has no optimised BLAS: install a wheel, `pip install --force-reinstall numpy`"
    core = readings.blas_core
    if "openblas" not in readings.blas or core is None or not readings.avx512 or core.lower() in AVX512_CORES:
        return None
    asked = readings.environment.get("OPENBLAS_CORETYPE")
    now = f" (it is {asked} now)" if asked else ""
    return (
        f"OpenBLAS uses its {core} kernels though this processor has AVX-512: "
        f"set OPENBLAS_CORETYPE=SkylakeX{now} before NumPy loads; "
        "matrix products then run up to 1.9 times as fast, depending on the processor"
    )


def _thread_advice(readings: Readings) -> str | None:
    threads, cores = readings.blas_threads, readings.cores
    if threads is None or threads == cores:
        return None
    variable = next((v for name, v in THREAD_VARIABLES.items() if name in readings.blas), "OMP_NUM_THREADS")
    if threads > cores:
        return f"BLAS runs {threads} threads where {cores} can run at once: set {variable}={cores}"
    asked = next((name for name in (variable, "OMP_NUM_THREADS") if name in readings.environment), None)
    if asked is None:
        return None  # the library's own limit
    return (
        f"{asked}={readings.environment[asked]} keeps BLAS off {cores - threads} of {cores} cores: "
        "unset it for one large computation, keep it for several side by side"
    )


def _dot_advice(readings: Readings) -> str | None:
    if readings.dot is not None:
        return None
    return (
        "no working `dot` for pictures other than columns of time: install Graphviz "
        "(`apt install graphviz`, `brew install graphviz`, `winget install graphviz`); DOT text needs none"
    )


def _extra_advice(readings: Readings, extra: str) -> str | None:
    packages, purpose = EXTRAS[extra]
    missing = [name for name in packages if readings.packages[name] is None]
    if not missing:
        return None
    return f"for {purpose}: `pip install 'graphzoo[{extra}]'` ({', '.join(missing)} missing)"


def probe() -> Readings:
    """Read this machine."""
    optional = [name for packages, _ in EXTRAS.values() for name in packages]
    config: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    simd = config["SIMD Extensions"]
    built_with = config["Build Dependencies"]["blas"]
    core, threads = _blas_core_and_threads()
    return Readings(
        python=f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        packages={name: _version(name) for name in ("graphzoo", "numpy", "networkx", "graphviz", *optional)},
        processor=_processor_name(),
        cores=_usable_cores(),
        avx512=not AVX512_FEATURES.isdisjoint([*simd.get("baseline", ()), *simd.get("found", ())]),
        blas=built_with["name"].lower() if built_with.get("found") else "none",
        blas_version=built_with.get("version", ""),
        blas_core=core,
        blas_threads=threads,
        kernels=state(),
        dot=_dot_version(),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        cpuinfo = ""
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    """The cores this process may use: by its affinity, and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except OSError:
        return cores
    return cores if quota == "max" else min(cores, math.ceil(int(quota) / int(period)))


def _blas_core_and_threads() -> tuple[str | None, int | None]:
    """The kernels and threads of the BLAS that NumPy loaded; None for what it does not tell."""
    told = libraries()[0].info() if libraries() else {}
    return told.get("architecture"), told.get("num_threads")


def _dot_version() -> str | None:
    """What `dot -V` says, or None where there is no `dot` that runs."""
    program = shutil.which("dot")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stderr or done.stdout).strip() if done.returncode == 0 else None
