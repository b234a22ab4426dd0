"""The processes that are compared: a library and the environment it starts in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

THREADS = "2"
ROOT = Path(__file__).resolve().parent.parent

# Set in the caller's shell, these would measure something else than what a user gets: other kernels, another malloc,
# a library that is compiled anew at each import.
_CLEARED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "GLIBC_TUNABLES", "PYTHONDONTWRITEBYTECODE")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True)
class Peer:
    name: str
    library: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """This peer's environment: the caller's, without what distorts, and with the peer's settings."""
        base = os.environ if base is None else base
        kept = {k: v for k, v in base.items() if k not in _CLEARED and not k.startswith("MALLOC_")}
        search = os.pathsep.join([str(ROOT), *filter(None, [base.get("PYTHONPATH")])])
        return {**kept, **dict.fromkeys(_THREAD_VARIABLES, THREADS), "PYTHONPATH": search, **self.settings}


# glibc returns every large block to the system and faults it in again. Never using mmap and never trimming
# keeps the pages; a large MALLOC_MMAP_THRESHOLD_ alone does not, for glibc ignores values above 32 MiB.
_KEEP_PAGES = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}

PEERS = {
    peer.name: peer
    for peer in (
        Peer("torch", "torch"),
        Peer("torch-tuned", "torch", _KEEP_PAGES),
        Peer("graphzoo", "graphzoo", {"GRAPHZOO_FAST": "0"}),
        Peer("graphzoo-tuned", "graphzoo", {"GRAPHZOO_FAST": "0", "OPENBLAS_CORETYPE": "SkylakeX"}),
        Peer("graphzoo-fast", "graphzoo", {"GRAPHZOO_FAST": "1"}),
        Peer("autograd", "autograd"),
        Peer("mygrad", "mygrad"),
    )
}


def runs_here(peer: Peer, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """False for AVX-512 kernels on a processor without it: they would die of an illegal instruction."""
    if "OPENBLAS_CORETYPE" not in peer.settings:
        return True
    return cpuinfo.exists() and "avx512f" in cpuinfo.read_text().split()
