"""Recurrent cells from primitive operations, for the libraries that ship none.

`ops` offers tanh, sigmoid and split(array, n) into n equal blocks of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def unroll(
    ops: Any, kind: str, reset_after: bool, parameters: dict[str, Any], steps: Sequence[Any], zeros: Any
) -> list[Any]:
    """The hidden states of all steps. The weights are transposed once, not at every step."""
    p = {name: value.T if name.startswith("weight") else value for name, value in parameters.items()}
    if kind == "gru" and not reset_after:
        p |= _gru_blocks(p)
    cell = {"rnn": rnn, "lstm": lstm, "gru": gru_reset_after if reset_after else gru_reset_before}[kind]
    state = (zeros, zeros) if kind == "lstm" else zeros
    outputs = []
    for x in steps:
        state = cell(ops, p, x, state)
        outputs.append(state[0] if kind == "lstm" else state)
    return outputs


def rnn(ops: Any, p: dict[str, Any], x: Any, h: Any) -> Any:
    return ops.tanh(x @ p["weight_ih"] + p["bias_ih"] + h @ p["weight_hh"] + p["bias_hh"])


def lstm(ops: Any, p: dict[str, Any], x: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
    h, c = state
    i, f, g, o = ops.split(x @ p["weight_ih"] + p["bias_ih"] + h @ p["weight_hh"] + p["bias_hh"], 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


def gru_reset_after(ops: Any, p: dict[str, Any], x: Any, h: Any) -> Any:
    """torch's and cuDNN's: c = tanh(W x + r ⊙ (U h + b)), h' = (1 − z) ⊙ c + z ⊙ h."""
    input_r, input_z, input_c = ops.split(x @ p["weight_ih"] + p["bias_ih"], 3)
    hidden_r, hidden_z, hidden_c = ops.split(h @ p["weight_hh"] + p["bias_hh"], 3)
    r, z = ops.sigmoid(input_r + hidden_r), ops.sigmoid(input_z + hidden_z)
    c = ops.tanh(input_c + r * hidden_c)
    return c + z * (h - c)


def gru_reset_before(ops: Any, p: dict[str, Any], x: Any, h: Any) -> Any:
    """The zoo document's: c = tanh(W x + U (r ⊙ h) + b), h' = (1 − z) ⊙ h + z ⊙ c."""
    input_r, input_z, input_c = ops.split(x @ p["weight_ih"] + p["bias_ih"] + p["bias_hh"], 3)
    hidden_r, hidden_z = ops.split(h @ p["weight_hh_rz"], 2)
    r, z = ops.sigmoid(input_r + hidden_r), ops.sigmoid(input_z + hidden_z)
    c = ops.tanh(input_c + (r * h) @ p["weight_hh_c"])
    return h + z * (c - h)


def _gru_blocks(p: dict[str, Any]) -> dict[str, Any]:
    """The hidden weights in two: the candidate's block waits for the reset gate, the gates' does not."""
    hidden = p["weight_hh"].shape[0]
    return {"weight_hh_rz": p["weight_hh"][:, : 2 * hidden], "weight_hh_c": p["weight_hh"][:, 2 * hidden :]}
