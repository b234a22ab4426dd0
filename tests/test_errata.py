"""docs/errata.md, entry by entry: the printed form fails where the right one passes.

Forward passes are written out in NumPy as the zoo document prints them; gradients are judged by central differences.
The modules of the zoo must agree with the right forms. Sizes differ from each other, so that a transposed result has
another shape.
"""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import graphzoo as gz
from tests.helpers import numeric_gradients

F, H, O, T = 2, 3, 4, 5
PAGE = Path(__file__).parents[1] / "docs" / "errata.md"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def agree(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-6, atol=1e-8)


# SimpleRNN -----------------------------------------------------------------------------------------------------------


class Simple:
    """The document's SimpleRNN over T steps, its states' gradients, and central differences for its parameters."""

    def __init__(self, features: int = F) -> None:
        self.w, self.u, self.v = normal(H, H), normal(H, features), normal(O, H)
        self.x, self.h0 = normal(T, features), normal(H, seed=1)
        self.do = normal(T + 1, O, seed=2)  # L = Σ do_t · o_t
        self.h = self.states(self.w, self.u)
        self.dh = [np.zeros(H)] * (T + 1)
        self.dh[T] = self.v.T @ self.do[T]
        for t in reversed(range(T)):
            self.dh[t] = self.v.T @ self.do[t] + self.w.T @ ((1 - self.h[t + 1] ** 2) * self.dh[t + 1])
        self.dw, self.du, self.dv = numeric_gradients(self.loss, [self.w, self.u, self.v])

    def states(self, w: np.ndarray, u: np.ndarray) -> list[np.ndarray]:
        h = [self.h0]
        for x in self.x:
            h.append(np.tanh(w @ h[-1] + u @ x))
        return h

    def loss(self, w: np.ndarray, u: np.ndarray, v: np.ndarray) -> float:
        return float(sum(do @ v @ h for do, h in zip(self.do, self.states(w, u), strict=True)))


def test_simple_rnn_pairs_states_with_the_next_gradient() -> None:
    net = Simple()
    a = [(1 - h**2) * dh for h, dh in zip(net.h, net.dh, strict=True)]
    printed_w = sum(np.outer(a[t], net.h[t]) for t in range(T + 1))
    printed_u = sum(np.outer(a[t], net.x[t]) for t in range(T))
    right_w = sum(np.outer(a[t + 1], net.h[t]) for t in range(T))
    right_u = sum(np.outer(a[t + 1], net.x[t]) for t in range(T))
    assert not agree(printed_w, net.dw)
    assert not agree(printed_u, net.du)
    assert agree(right_w, net.dw)
    assert agree(right_u, net.du)


def test_simple_rnn_reads_out_the_state_and_not_the_input() -> None:
    net = Simple()
    assert sum(np.outer(net.do[t], net.x[t]) for t in range(T)).shape != net.v.shape
    same = Simple(features=H)  # where x and h have one size, the printed form conforms and is wrong
    assert not agree(sum(np.outer(same.do[t], same.x[t]) for t in range(T)), same.dv)
    for case in (net, same):
        assert agree(sum(np.outer(case.do[t], case.h[t]) for t in range(T + 1)), case.dv)


def test_the_zoos_simple_rnn_has_the_right_gradients() -> None:
    net = Simple()
    cell = gz.SimpleRNNCell(F, H, O, bias=False, readout="old", rng=0).astype(np.float64)
    cell.weight_hh.data, cell.weight_ih.data, cell.weight_ho.data = net.w, net.u, net.v
    h, total = gz.tensor(net.h0), gz.tensor(0.0, np.float64)
    for t in range(T + 1):  # the last step only reads out: its input reaches nothing
        o, h = cell(net.x[min(t, T - 1)], h)
        total = total + (o * net.do[t]).sum()
    total.backward()
    assert agree(cell.weight_hh.grad, net.dw)
    assert agree(cell.weight_ih.grad, net.du)
    assert agree(cell.weight_ho.grad, net.dv)


# LSTM ----------------------------------------------------------------------------------------------------------------


class LongShort:
    """The document's LSTM over T steps, rows of the weights in the order i, f, g, o; L = Σ dh_t · h_t + dc · C_T."""

    def __init__(self) -> None:
        self.w, self.u = normal(4 * H, H), normal(4 * H, F)
        self.x, self.h0, self.c0 = normal(T, F), normal(H, seed=1), normal(H, seed=2)
        self.direct_h, self.direct_c = normal(T + 1, H, seed=3), normal(H, seed=4)
        self.run(self.w, self.u, self.c0)
        self.numeric = numeric_gradients(self.loss, [self.w, self.u, self.c0])

    def run(self, w: np.ndarray, u: np.ndarray, c0: np.ndarray) -> None:
        self.h, self.c, self.gates = [self.h0], [c0], []
        for x in self.x:
            i, f, g, o = np.split(w @ self.h[-1] + u @ x, 4)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            self.gates.append((i, f, g, o))
            self.c.append(f * self.c[-1] + i * g)
            self.h.append(o * np.tanh(self.c[-1]))

    def loss(self, w: np.ndarray, u: np.ndarray, c0: np.ndarray) -> float:
        self.run(w, u, c0)
        return float(sum(d @ h for d, h in zip(self.direct_h[1:], self.h[1:], strict=True)) + self.direct_c @ self.c[T])

    def backward(self, printed: bool) -> tuple[list[np.ndarray], np.ndarray]:
        """Each step's gradient at the gates' arguments, and dL/dC_0. Both forms begin with the right dL/dC_T."""
        self.run(self.w, self.u, self.c0)
        c, gates = self.c, self.gates
        dh = self.direct_h[T]
        dc = self.direct_c + dh * gates[T - 1][3] * (1 - np.tanh(c[T]) ** 2)
        deltas = []
        for t in reversed(range(T)):
            i, f, g, o = gates[t]
            delta = np.concatenate([
                dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dc * i * (1 - g**2),
                dh * np.tanh(c[t + 1]) * o * (1 - o),
            ])  # fmt: skip
            deltas.insert(0, delta)
            dh = self.direct_h[t] + self.w.T @ delta
            dc = dc * f
            if printed:
                dc = dc + dh * o * (1 - np.tanh(c[t + 1]) ** 2)
            elif t > 0:  # h_0 is given: it was not made from C_0
                dc = dc + dh * gates[t - 1][3] * (1 - np.tanh(c[t]) ** 2)
        return deltas, dc

    def parameters(self, deltas: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return (
            sum((np.outer(d, h) for d, h in zip(deltas, self.h, strict=False)), np.zeros_like(self.w)),
            sum((np.outer(d, x) for d, x in zip(deltas, self.x, strict=True)), np.zeros_like(self.u)),
        )


def test_lstm_pairs_the_gradient_at_h_with_the_gate_and_cell_that_made_it() -> None:
    net = LongShort()
    deltas, dc0 = net.backward(printed=True)
    for got, expected in zip((*net.parameters(deltas), dc0), net.numeric, strict=True):
        assert not agree(got, expected)
    deltas, dc0 = net.backward(printed=False)
    for got, expected in zip((*net.parameters(deltas), dc0), net.numeric, strict=True):
        assert agree(got, expected)


def test_lstm_parameters_are_used_at_every_step() -> None:
    net = LongShort()
    deltas, _ = net.backward(printed=False)
    for t in range(T):  # the printed pass, which names one t
        assert not agree(np.outer(deltas[t], net.h[t]), net.numeric[0])
        assert not agree(np.outer(deltas[t], net.x[t]), net.numeric[1])
    dw, du = net.parameters(deltas)
    assert agree(dw, net.numeric[0])
    assert agree(du, net.numeric[1])


def test_the_zoos_lstm_has_the_right_gradients() -> None:
    net = LongShort()
    cell = gz.LSTMCell(F, H, bias=False, rng=0).astype(np.float64)
    cell.weight_hh.data, cell.weight_ih.data = net.w, net.u
    c0 = gz.tensor(net.c0, requires_grad=True)
    h, c, total = gz.tensor(net.h0), c0, gz.tensor(0.0, np.float64)
    for t in range(T):
        h, c = cell(net.x[t], (h, c))
        total = total + (h * net.direct_h[t + 1]).sum()
    (total + (c * net.direct_c).sum()).backward()
    for got, expected in zip((cell.weight_hh.grad, cell.weight_ih.grad, c0.grad), net.numeric, strict=True):
        assert agree(got, expected)


# GRU -----------------------------------------------------------------------------------------------------------------


class Gated:
    """The document's GRU over T steps, rows in the order r, z, c; the reset gate before or behind the product."""

    def __init__(self, reset_first: bool = True) -> None:
        self.reset_first = reset_first
        self.w, self.u = normal(3 * H, H), normal(3 * H, F)
        self.x, self.h0, self.direct = normal(T, F), normal(H, seed=1), normal(T + 1, H, seed=3)
        self.numeric = numeric_gradients(self.loss, [self.w, self.u])

    def run(self, w: np.ndarray, u: np.ndarray) -> None:
        self.h, self.gates = [self.h0], []
        for x in self.x:
            h, (wr, wz, wc), (ur, uz, uc) = self.h[-1], np.split(w, 3), np.split(u, 3)
            r, z = sigmoid(wr @ h + ur @ x), sigmoid(wz @ h + uz @ x)
            c = np.tanh((wc @ (r * h) if self.reset_first else (wc @ r) * h) + uc @ x)
            self.gates.append((r, z, c))
            self.h.append((1 - z) * h + z * c)

    def loss(self, w: np.ndarray, u: np.ndarray) -> float:
        self.run(w, u)
        return float(sum(d @ h for d, h in zip(self.direct[1:], self.h[1:], strict=True)))

    def steps(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """What each step contributes to dL/dW and dL/dU, by the passes as printed."""
        self.run(self.w, self.u)
        wr, wz, wc = np.split(self.w, 3)
        dh, found = self.direct[T], []
        for t in reversed(range(T)):
            h, x, (r, z, c) = self.h[t], self.x[t], self.gates[t]
            at_c = dh * z * (1 - c**2)
            at_z = dh * (c - h) * z * (1 - z)
            at_r = (wc.T @ at_c) * h * r * (1 - r)
            dw = np.concatenate([np.outer(at_r, h), np.outer(at_z, h), np.outer(at_c, r * h)])
            found.append((dw, np.outer(np.concatenate([at_r, at_z, at_c]), x)))
            dh = wz.T @ at_z + wr.T @ at_r + (wc.T @ at_c) * r + dh * (1 - z) + self.direct[t]
        return found


def test_gru_parameters_are_used_at_every_step() -> None:
    net = Gated()
    steps = net.steps()
    for dw, du in steps:
        assert not agree(dw, net.numeric[0])
        assert not agree(du, net.numeric[1])
    assert agree(sum(dw for dw, _ in steps), net.numeric[0])
    assert agree(sum(du for _, du in steps), net.numeric[1])


def test_gru_resets_the_state_before_the_product() -> None:
    other = Gated(reset_first=False)  # the other reading of W_c r ⊙ h has other gradients than those printed
    assert not agree(sum(dw for dw, _ in other.steps()), other.numeric[0])


def test_the_zoos_gru_has_the_right_gradients() -> None:
    net = Gated()
    cell = gz.GRUCell(F, H, bias=False, rng=0).astype(np.float64)
    cell.weight_hh.data, cell.weight_ih.data = net.w, net.u
    h, total = gz.tensor(net.h0), gz.tensor(0.0, np.float64)
    for t in range(T):
        h = cell(net.x[t], h)
        total = total + (h * net.direct[t + 1]).sum()
    total.backward()
    assert agree(cell.weight_hh.grad, net.numeric[0])
    assert agree(cell.weight_ih.grad, net.numeric[1])


# Fully connected -----------------------------------------------------------------------------------------------------


def test_fully_connected_needs_the_transposed_input_in_the_kronecker_product() -> None:
    w, x, dy = normal(O, F), normal(F, 1), normal(1, O, seed=1)
    (expected,) = numeric_gradients(lambda w: float((dy @ w @ x).item()), [w])
    with pytest.raises(ValueError, match="mismatch"):
        dy @ np.kron(np.eye(O), x)
    right = dy @ np.kron(np.eye(O), x.T)
    assert agree(right.reshape(O, F), expected)
    assert agree(np.outer(dy, x), expected)

    layer = gz.Linear(F, O, rng=0).astype(np.float64)
    layer.weight.data = w
    (layer(x.T) * dy).sum().backward()
    assert agree(layer.weight.grad, expected)


# Batch normalisation -------------------------------------------------------------------------------------------------


def test_batch_normalisation_divides_by_the_count() -> None:
    gamma, eps, m = 1.7, 1e-5, np.arange(1, 7)  # six samples of one feature; the printed m is a sample's number
    x, dy = normal(6), normal(6, seed=1)

    def loss(x: np.ndarray) -> float:
        return float(dy @ (gamma * (x - x.mean()) / np.sqrt(x.var() + eps)))

    def gradient(divisor: np.ndarray | int) -> np.ndarray:
        centred, spread = x - x.mean(), x.var() + eps
        d_var = (dy * gamma * centred * -0.5 * spread**-1.5).sum()
        d_mean = (-dy * gamma / np.sqrt(spread)).sum() + d_var * (-2 * centred / divisor).sum()
        return dy * gamma / np.sqrt(spread) + d_mean / divisor + d_var * 2 / divisor * centred

    (expected,) = numeric_gradients(loss, [x])
    assert not agree(gradient(m), expected)
    assert agree(gradient(len(x)), expected)

    layer = gz.BatchNorm1d(1, eps=eps).astype(np.float64)
    layer.weight.data = np.array([gamma])
    leaf = gz.tensor(x[:, None], requires_grad=True)
    (layer(leaf) * dy[:, None]).sum().backward()
    assert agree(leaf.grad[:, 0], expected)


# Max at ties ---------------------------------------------------------------------------------------------------------


def test_max_shares_the_gradient_at_a_tie() -> None:
    x = np.array([1.0, 3.0, 2.0, 3.0])
    printed = (x == x.max()).astype(float)
    right = printed / printed.sum()
    together = printed  # both largest entries are raised at once
    slope = (np.max(x + 1e-5 * together) - np.max(x - 1e-5 * together)) / 2e-5
    assert not np.isclose(printed @ together, slope)
    assert np.isclose(right @ together, slope)
    # A subgradient of a convex function never promises more than a step brings.
    steps = normal(200, 4)
    rises = np.max(x + steps, axis=1) - x.max()
    assert (steps @ printed > rises + 1e-9).any()
    assert (steps @ right <= rises + 1e-9).all()

    leaf = gz.tensor(x, requires_grad=True)
    leaf.max().backward()
    assert agree(leaf.grad, right)


# Softmax with cross-entropy ------------------------------------------------------------------------------------------


def test_softmax_with_cross_entropy_for_targets_that_do_not_sum_to_one() -> None:
    x, p = normal(4), np.array([0.5, 0.0, 1.5, 0.25])
    (expected,) = numeric_gradients(lambda x: float(-(p * np.log(np.exp(x) / np.exp(x).sum())).sum()), [x])
    y = np.exp(x) / np.exp(x).sum()
    assert not agree(y - p, expected)
    assert agree(y * p.sum() - p, expected)

    leaf = gz.tensor(x, requires_grad=True)
    gz.CrossEntropy()(gz.softmax(leaf), p).backward()
    assert agree(leaf.grad, expected)


# Overflow and cancellation -------------------------------------------------------------------------------------------

PRINTED = {
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(),
    "softplus": lambda x: np.log(np.exp(x) + 1),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
}
FAR_OUT = {"softmax": [1.0, 0.0], "softplus": [1000.0, 0.0], "tanh": [1.0, -1.0]}  # at 1000 and -1000


@pytest.mark.parametrize("name", PRINTED)
def test_literal_formulas_overflow(name: str) -> None:
    x = np.array([1000.0, -1000.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert not np.isfinite(PRINTED[name](x)).all()
    leaf = gz.tensor(x, requires_grad=True)
    y = getattr(gz, name)(leaf)
    assert y.numpy().tolist() == FAR_OUT[name]
    y.sum().backward()
    assert leaf.grad.tolist() == ([1.0, 0.0] if name == "softplus" else [0.0, 0.0])


def test_literal_elu_loses_its_digits_near_zero() -> None:
    x = np.array([-1e-12])
    expected = -1e-12 + 5e-25  # the series of e^x - 1
    assert abs((np.exp(x) - 1) / expected - 1).item() > 1e-6
    assert abs(gz.elu(gz.tensor(x)).numpy() / expected - 1).item() < 1e-15


# The page ------------------------------------------------------------------------------------------------------------


def test_the_page_names_every_test_and_only_these() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    files = [Path(__file__), Path(__file__).with_name("test_errata_convolution.py")]
    tests = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert named == tests - {"test_the_page_names_every_test_and_only_these"}
