"""`graphzoo doctor` on machines that are described rather than there, and its probes on the one that is."""

import dataclasses
import os
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from graphzoo import doctor

ALL_PACKAGES = {
    "graphzoo": "0.1.0",
    "numpy": "2.4.6",
    "networkx": "3.6.1",
    "graphviz": "0.21",
    "matplotlib": "3.11.2",
    "numba": "0.68.1",
    "pygraphviz": "1.14",
    "latex2mathml": "3.78",
    "torch": "2.13.0",
    "autograd": "1.9.1",
    "mygrad": "2.5.0",
}
# A server where everything is as it should be.
WELL = doctor.Readings(
    python="3.11.7 (Linux x86_64)",
    packages=ALL_PACKAGES,
    processor="Xeon Gold 6230",
    cores=8,
    avx512=True,
    blas="scipy-openblas",
    blas_version="0.3.31",
    blas_core="SkylakeX",
    blas_threads=8,
    kernels="compiled by Numba where they are quicker",
    dot="dot - graphviz version 2.43.0 (0)",
    environment={},
)
# A container on a large machine: two cores to use, and an OpenBLAS that sees 64 and takes them for AVX2 ones.
CONTAINER = dataclasses.replace(
    WELL,
    packages=ALL_PACKAGES | dict.fromkeys(["pygraphviz", "latex2mathml", "torch", "mygrad"]),
    processor="EPYC 9654",
    cores=2,
    blas_core="Zen",
    blas_threads=64,
    kernels="compiled by Numba where they are quicker",
    dot=None,
    environment={"NPY_DISABLE_CPU_FEATURES": "AVX512_SPR"},
)
LAPTOP = dataclasses.replace(
    WELL,
    python="3.13.1 (Darwin arm64)",
    processor="arm",
    cores=10,
    avx512=False,
    blas="accelerate",
    blas_version="",
    blas_core=None,
    blas_threads=None,
    kernels="compiled by Numba where they are quicker",
)

WELL_TEXT = """\
graphzoo doctor

python       3.11.7 (Linux x86_64)
graphzoo     0.1.0
numpy        2.4.6
networkx     3.6.1
graphviz     0.21
processor    Xeon Gold 6230, 8 cores usable, AVX-512
BLAS         scipy-openblas 0.3.31, SkylakeX kernels, 8 threads
kernels      compiled by Numba where they are quicker
dot          dot - graphviz version 2.43.0 (0)
extra fast   numba 0.68.1
extra plot   matplotlib 3.11.2
extra draw   pygraphviz 1.14, latex2mathml 3.78
extra bench  torch 2.13.0, autograd 1.9.1, mygrad 2.5.0
environment  nothing set

Advice: none, all is well."""

CONTAINER_TEXT = """\
graphzoo doctor

python       3.11.7 (Linux x86_64)
graphzoo     0.1.0
numpy        2.4.6
networkx     3.6.1
graphviz     0.21
processor    EPYC 9654, 2 cores usable, AVX-512
BLAS         scipy-openblas 0.3.31, Zen kernels, 64 threads
kernels      compiled by Numba where they are quicker
dot          missing
extra fast   numba 0.68.1
extra plot   matplotlib 3.11.2
extra draw   pygraphviz missing, latex2mathml missing
extra bench  torch missing, autograd 1.9.1, mygrad missing
environment  NPY_DISABLE_CPU_FEATURES=AVX512_SPR

Advice:
- OpenBLAS uses its Zen kernels though this processor has AVX-512: \
set OPENBLAS_CORETYPE=SkylakeX before NumPy loads; \
matrix products then run up to 1.9 times as fast, depending on the processor
- BLAS runs 64 threads where 2 can run at once: set OPENBLAS_NUM_THREADS=2
- no working `dot` for pictures other than columns of time: install Graphviz (`apt install graphviz`, \
`brew install graphviz`, `winget install graphviz`); DOT text needs none
- for Graphviz as a Python package, and formulas on the pages of graphs: `pip install 'graphzoo[draw]'` \
(pygraphviz, latex2mathml missing)
- for `python -m benchmarks`: `pip install 'graphzoo[bench]'` (torch, mygrad missing)"""

LAPTOP_TEXT = (
    WELL_TEXT.replace("3.11.7 (Linux x86_64)", "3.13.1 (Darwin arm64)")
    .replace("Xeon Gold 6230, 8 cores usable, AVX-512", "arm, 10 cores usable")
    .replace("scipy-openblas 0.3.31, SkylakeX kernels, 8 threads", "accelerate")
)


@pytest.mark.parametrize(("readings", "text"), [(WELL, WELL_TEXT), (CONTAINER, CONTAINER_TEXT), (LAPTOP, LAPTOP_TEXT)])
def test_report_text(readings: doctor.Readings, text: str) -> None:
    assert doctor.render(readings) == text


def advice_on(**changes: object) -> list[str]:
    return doctor.advice(dataclasses.replace(WELL, **changes))


@pytest.mark.parametrize("core", ["SkylakeX", "SKYLAKEX", "Cooperlake", "SapphireRapids"])
def test_avx512_kernels_need_no_advice(core: str) -> None:
    assert advice_on(blas_core=core) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"avx512": False, "blas_core": "Haswell"},  # the processor can do no more
        {"blas": "mkl", "blas_core": "Haswell"},  # OpenBLAS's variable means nothing to others
        {"blas_core": None},  # unknown
    ],
)
def test_no_kernel_advice_where_it_would_not_help(changes: dict[str, object]) -> None:
    assert advice_on(**changes) == []


def test_kernel_advice_names_what_is_set_now() -> None:
    (line,) = advice_on(blas_core="Haswell", environment={"OPENBLAS_CORETYPE": "Haswell"})
    assert "set OPENBLAS_CORETYPE=SkylakeX (it is Haswell now) before NumPy loads" in line


def test_missing_blas() -> None:
    (line,) = advice_on(blas="none", blas_core=None, blas_threads=None)
    assert "no optimised BLAS" in line


@pytest.mark.parametrize(
    ("blas", "variable"),
    [("scipy-openblas", "OPENBLAS_NUM_THREADS"), ("mkl-sdl", "MKL_NUM_THREADS"), ("essl", "OMP_NUM_THREADS")],
)
def test_too_many_threads(blas: str, variable: str) -> None:
    assert advice_on(blas=blas, blas_threads=16) == [f"BLAS runs 16 threads where 8 can run at once: set {variable}=8"]


@pytest.mark.parametrize("variable", ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"])
def test_few_threads_because_they_were_asked_for(variable: str) -> None:
    (line,) = advice_on(blas_threads=2, environment={variable: "2"})
    assert line.startswith(f"{variable}=2 keeps BLAS off 6 of 8 cores")


def test_few_threads_by_the_library_itself() -> None:
    assert advice_on(blas_threads=2) == []


def test_one_is_singular() -> None:
    text = doctor.render(dataclasses.replace(WELL, cores=1, blas_threads=1))
    assert "1 core usable" in text
    assert "1 thread\n" in text


def test_probe_reads_this_machine() -> None:
    readings = doctor.probe()
    assert readings.packages["numpy"] == np.__version__
    assert readings.processor
    assert 1 <= readings.cores <= (os.cpu_count() or 1)
    assert doctor.render(readings).startswith("graphzoo doctor\n\npython ")


def test_probe_lists_the_variables_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert doctor.probe().environment == {"OMP_NUM_THREADS": "3"}


def test_what_blas_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    (core, threads), found = doctor._blas_core_and_threads(), doctor.probe()
    assert (found.blas_core, found.blas_threads) == (core, threads)
    if "openblas" in found.blas:
        assert core
        assert threads >= 1
    monkeypatch.setattr(doctor, "libraries", list)
    assert doctor._blas_core_and_threads() == (None, None)


def fake_dot(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "dot"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for dot is a script")
@pytest.mark.parametrize(
    ("script", "version"),
    [
        (
            "import sys; print('dot - graphviz version 12.2.1', file=sys.stderr)",
            "dot - graphviz version 12.2.1",
        ),
        ("raise SystemExit(1)", None),
    ],
)
def test_dot(tmp_path: Path, script: str, version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(tmp_path, script, monkeypatch)
    assert doctor._dot_version() == version


def test_no_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._dot_version() is None


@pytest.mark.parametrize("extra", doctor.EXTRAS)
def test_extras_are_those_of_the_project(extra: str) -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    required = {line.split(">")[0].split("=")[0] for line in project["optional-dependencies"][extra]}
    assert required == set(doctor.EXTRAS[extra][0])
