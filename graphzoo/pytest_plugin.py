"""The pytest fixture `gradcheck`: `gz.check` with a seed that belongs to the test.

def test_my_module(gradcheck):
    gradcheck(MyModule(), np.ones((2, 3)))
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`gz.check`, drawing its random directions from a seed made of the test's name."""
    from .check import check

    seed = zlib.crc32(request.node.nodeid.encode())

    def run(target: Any, inputs: Any, **options: Any) -> Any:
        return check(target, inputs, **{"rng": seed, **options})

    return run
