"""Products of small matrices of float32, for kernels that are compiled as a whole.

They are made of tiles (see `tiles`) that are whole: a result has a multiple of WIDTH columns, and at least HEIGHT rows,
where the last tile lies over the one before.
"""

from __future__ import annotations

import numpy as np

from .loops import compiled
from .tiles import VECTOR, packed_tile, turned_tile

LANES = VECTOR // 4
HEIGHT, WIDTH = 12, 2 * LANES
TILE, TURN = packed_tile(HEIGHT, WIDTH // LANES), turned_tile()


@compiled
def turn(matrix, turned):
    """turned = matrixᵀ, whose rows are not in whole vectors."""
    rows, columns = matrix.shape
    source, target = matrix.reshape(-1), turned.reshape(-1)
    whole = rows - rows % LANES
    for j in range(0, columns, LANES):
        for i in range(0, whole, LANES):
            TURN(target, j * rows + i, rows, source, i * columns + j, columns)
    for i in range(whole, rows):
        for j in range(columns):
            target[j * rows + i] = source[i * columns + j]


@compiled
def multiply(a, b, out):
    """out = aᵀ b: of a, one row at a time holds all the factors that a tile needs."""
    rows, columns = out.shape
    left, right, target, nothing = a.reshape(-1), b.reshape(-1), out.reshape(-1), np.zeros(1, np.int64)
    for i in range(0, rows, HEIGHT):
        first = min(i, rows - HEIGHT)
        for j in range(0, columns, WIDTH):
            TILE(target, first * columns + j, columns, left, first, right, j, nothing, len(b), columns, rows)
