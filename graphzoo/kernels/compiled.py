"""The twins of plain kernels, by their names: they are compiled by Numba, or call what is. See `loops`, `heads`,
`products` and `steps`. A twin returns NotImplemented where it does not know the case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import heads, loops, products, steps

TWINS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        loops.rectified,
        loops.rectified_gradient,
        loops.tanh_gradient,
        loops.normal_share,
        loops.normal_share_gradient,
        loops.exponentials,
        loops.through_exponentials,
        heads.attend,
        heads.attend_gradients,
        products.turn,
        products.multiply,
        products.multiply_onto,
        products.sum_of_products,
        products.multiply_each,
        products.sum_of_each,
        steps.lstm_step,
        steps.lstm_steps,
        steps.lstm_delta,
        steps.lstm_back,
        steps.gru_before_step,
        steps.gru_before_delta,
        steps.gru_after_step,
        steps.gru_after_delta,
        loops.softmax_rows,
        loops.softmax_rows_gradient,
        loops.normalized_rows,
        loops.row_gradients,
        loops.normalized_channels,
        loops.channel_gradients,
        loops.pooled_sums,
        loops.spread_sums,
        loops.pooled_maxima_and_places,
        loops.spread_maxima,
        loops.correlate,
        loops.correlate_adjoint,
        loops.kernel_gradient,
    )
}
