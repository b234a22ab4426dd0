"""The twins of plain kernels, by their names. They are compiled by Numba: `loops`, `heads` and `steps`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import heads, loops, steps


def run(name: str, first: np.ndarray, *others: Any) -> Any:
    """A twin's result; NotImplemented where it does not know the case."""
    return TWINS[name](first, *others)


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
        steps.lstm_steps,
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
} | {
    function.__name__.removeprefix("_"): steps.in_place(function)
    for function in (
        steps._lstm_state,
        steps._lstm_delta,
        steps._gru_reset,
        steps._gru_mix,
        steps._gru_mix_delta,
        steps._gru_reset_delta,
        steps._gru_after,
        steps._gru_after_delta,
    )
}
