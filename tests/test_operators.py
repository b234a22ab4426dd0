"""Tensors in Python's operators and in NumPy's functions: what is recorded, what is a constant, what is refused."""

import numpy as np
import pytest

import graphzoo as gz
from graphzoo.zoo import operators
from tests.helpers import assert_gradients

A = np.random.default_rng(0).uniform(0.5, 2, (2, 3))
B = np.random.default_rng(1).uniform(2.5, 4, (2, 3))


def leaf(x=A) -> gz.Tensor:
    return gz.tensor(np.array(x), requires_grad=True)


# Python's operators -------------------------------------------------------------------------------------------------

OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize(
    "other", [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2), np.array(2.5), B, gz.tensor(B)], ids=repr
)
def test_operators_record_with_every_operand_on_either_side(symbol, other) -> None:
    operator = OPERATORS[symbol]
    value = other.numpy() if isinstance(other, gz.Tensor) else other
    for ours, expected in (
        (operator(leaf(), other), operator(A, value)),
        (operator(other, leaf()), operator(value, A)),
    ):
        assert isinstance(ours, gz.Tensor)
        assert ours.requires_grad
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-15)
    assert_gradients(lambda t: operator(t, value), A, order=1)
    assert_gradients(lambda t: operator(value, t), A, order=1)


def test_unary_operators() -> None:
    x = gz.tensor([-1.0, 2.0])
    np.testing.assert_array_equal((-x).numpy(), [1, -2])
    np.testing.assert_array_equal(abs(x).numpy(), [1, 2])
    assert +x is x


def test_operators_of_parameters() -> None:
    p = gz.Parameter([1.0, 2.0])
    for y in (p + 1, 1 + p, p * p, p @ p, p[0], p.sum(), np.exp(p), np.float32(2) * p):
        assert type(y) is gz.Tensor
        assert y.requires_grad


def test_in_place_operators_make_a_new_tensor() -> None:
    x = y = leaf()
    y += 1
    y *= 2
    assert y is not x
    np.testing.assert_array_equal(x.numpy(), A)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.full((2, 3), 2.0))


def test_an_array_cannot_take_in_a_tensor_in_place() -> None:
    total = np.zeros((2, 3))
    with pytest.raises(gz.UnsupportedError, match=r"np\.add cannot be recorded with out=.*\n.*\n.*\n.*a = a \+ b"):
        total += leaf()
    np.testing.assert_array_equal(total, np.zeros((2, 3)))


def test_comparisons_are_boolean_constants() -> None:
    x = leaf([1.0, 2.0, 3.0])
    for mask in (x > 2, x >= 2, x < 2, x <= 2, x == 2, x != 2, np.array(2.0) < x, x > x, np.greater(x, 2)):
        assert isinstance(mask, gz.Tensor)
        assert mask.dtype == bool
        assert not mask.requires_grad
    np.testing.assert_array_equal((x == 2).numpy(), [False, True, False])
    np.testing.assert_array_equal(((x > 1) & (x < 3) | ~(x != 3)).numpy(), [False, True, True])
    np.testing.assert_array_equal((x > 2).numpy(), [False, False, True])
    np.testing.assert_array_equal((7 // gz.tensor(np.array([2, 3]))).numpy(), [3, 2])


def test_a_tensor_is_found_in_a_list_beside_other_things() -> None:
    x = gz.tensor(1.0)
    assert x in [None, "x", x]
    assert x not in [None, "x"]
    assert len({x, x}) == 1


def test_iterating_records_each_item() -> None:
    x = leaf()
    rows = list(x)
    assert len(rows) == 2
    (rows[0] * rows[1]).sum().backward()
    np.testing.assert_array_equal(x.grad, A[::-1])
    with pytest.raises(gz.UnsupportedError, match="single number"):
        iter(gz.tensor(1.0))


def test_methods_of_constants() -> None:
    x = leaf([[1.4, -2.6]])
    for y in (x.round(), x.argsort(axis=1), (x > 0).any(axis=1), (x > 0).all()):
        assert isinstance(y, gz.Tensor)
        assert not y.requires_grad
    np.testing.assert_array_equal(x.round().numpy(), np.round([[1.4, -2.6]]))
    assert bool((x > -3).all())


@pytest.mark.parametrize("name", operators.METHODS)
def test_every_method_is_there(name: str) -> None:
    assert hasattr(leaf(), name)


# Ufuncs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ufunc", [u for u in operators.UFUNCS if u.nin == 1], ids=lambda u: u.__name__)
def test_unary_ufuncs(ufunc) -> None:
    y = ufunc(leaf())
    assert y.requires_grad
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.numpy(), ufunc(A), rtol=1e-14)
    assert_gradients(ufunc, A)


@pytest.mark.parametrize("ufunc", [u for u in operators.UFUNCS if u.nin == 2], ids=lambda u: u.__name__)
def test_binary_ufuncs_with_arrays_in_either_order(ufunc) -> None:
    b = B.T if ufunc is np.matmul else B
    np.testing.assert_allclose(ufunc(leaf(), b).numpy(), ufunc(A, b), rtol=1e-14)
    np.testing.assert_allclose(ufunc(A, leaf(b)).numpy(), ufunc(A, b), rtol=1e-14)
    assert_gradients(ufunc, A, b)
    assert_gradients(lambda t: ufunc(A, t), b)
    assert_gradients(lambda t: ufunc(t, b), A)


@pytest.mark.parametrize("ufunc", operators.UFUNC_REDUCTIONS, ids=lambda u: u.__name__)
def test_reduce(ufunc) -> None:
    for options in ({}, {"axis": None}, {"axis": 1}, {"axis": 1, "keepdims": True}):
        np.testing.assert_allclose(ufunc.reduce(leaf(), **options).numpy(), ufunc.reduce(A, **options))
        assert_gradients(lambda t, options=options: ufunc.reduce(t, **options), A, order=1)


def test_accumulate() -> None:
    np.testing.assert_allclose(np.add.accumulate(leaf(), axis=1).numpy(), np.add.accumulate(A, axis=1))


@pytest.mark.parametrize("ufunc", [np.isnan, np.sign, np.floor, np.ceil, np.isfinite], ids=lambda u: u.__name__)
def test_ufuncs_in_steps_are_constants(ufunc) -> None:
    y = ufunc(leaf())
    assert isinstance(y, gz.Tensor)
    assert not y.requires_grad
    np.testing.assert_array_equal(y.numpy(), ufunc(A))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: np.arctan(t), r"np\.arctan cannot be recorded"),
        (lambda t: np.add(t, 1, out=np.zeros((2, 3))), r"with out="),
        (lambda t: np.add(A, 1, out=t), r"with out="),
        (lambda t: np.greater(A, 1, out=t), r"with out="),
        (lambda t: np.add(t, 1, where=A > 1), r"with where="),
        (lambda t: np.add(t, 1, dtype=np.float32), r"with dtype="),
        (lambda t: np.add.reduce(t, initial=3), r"with initial="),
        (lambda t: np.add.outer(t, t), r"np\.add\.outer cannot"),
        (lambda t: np.multiply.at(t, [0], 2), r"np\.multiply\.at cannot"),
        (lambda t: np.subtract.reduce(t), r"np\.subtract\.reduce cannot"),
        (lambda t: np.modf(t), r"np\.modf cannot"),
    ],
)
def test_ufuncs_that_would_lose_the_gradient_are_refused(call, says) -> None:
    with pytest.raises(gz.UnsupportedError, match=says) as caught:
        call(leaf())
    assert "to do:" in str(caught.value)


# NumPy's other functions --------------------------------------------------------------------------------------------

FUNCTIONS = {
    "sum": lambda t: np.sum(t, axis=1, keepdims=True),
    "sum by position": lambda t: np.sum(t, 1, None, None, True),
    "mean": lambda t: np.mean(t, 0),
    "max": lambda t: np.max(t, axis=(0, 1)),
    "min": lambda t: np.min(t),
    "prod": lambda t: np.prod(t, axis=-1),
    "var": lambda t: np.var(t, axis=1, ddof=1),
    "var by correction": lambda t: np.var(t, axis=1, correction=1),
    "std": lambda t: np.std(t, ddof=1),
    "cumsum": lambda t: np.cumsum(t, axis=1),
    "norm": lambda t: np.linalg.norm(t),
    "norm 1": lambda t: np.linalg.norm(t, 1, axis=1),
    "norm 2": lambda t: np.linalg.norm(t, ord=2, axis=0, keepdims=True),
    "norm inf": lambda t: np.linalg.norm(t, np.inf, 1),
    "norm fro": lambda t: np.linalg.norm(t, "fro"),
    "where": lambda t: np.where(A > 1, t, 0),
    "where array": lambda t: np.where([True, False, True], B, t),
    "clip": lambda t: np.clip(t, 0.8, 1.5),
    "clip by keyword": lambda t: np.clip(t, min=0.8),
    "reshape": lambda t: np.reshape(t, (3, 2)),
    "reshape by keyword": lambda t: np.reshape(t, shape=-1, order="C"),
    "ravel": lambda t: np.ravel(t),
    "transpose": lambda t: np.transpose(t, (1, 0)),
    "swapaxes": lambda t: np.swapaxes(t, 0, 1),
    "moveaxis": lambda t: np.moveaxis(t, 0, -1),
    "squeeze": lambda t: np.squeeze(t[:1], axis=0),
    "expand_dims": lambda t: np.expand_dims(t, axis=0),
    "broadcast_to": lambda t: np.broadcast_to(t, (4, 2, 3)),
    "concatenate": lambda t: np.concatenate([t, B], axis=1),
    "stack": lambda t: np.stack((B, t), axis=-1),
    "vstack": lambda t: np.vstack([t, B]),
    "hstack": lambda t: np.hstack([B, t]),
    "split": lambda t: np.split(t, 3, axis=1)[1],
    "pad": lambda t: np.pad(t, 1, constant_values=2),
    "tile": lambda t: np.tile(t, (2, 1)),
    "repeat": lambda t: np.repeat(t, 2, axis=0),
    "take": lambda t: np.take(t, [0, 0], axis=1),
    "flip": lambda t: np.flip(t, 0),
    "roll": lambda t: np.roll(t, 1, axis=1),
    "atleast_2d": lambda t: np.atleast_2d(t[0]),
    "einsum": lambda t: np.einsum("ij,kj->ik", t, B),
    "einsum with a plan": lambda t: np.einsum("ij,kj->ik", t, B, optimize=False),
    "dot": lambda t: np.dot(t, B.T),
    "inner": lambda t: np.inner(B, t),
    "outer": lambda t: np.outer(t, B),
    "tensordot": lambda t: np.tensordot(t, B, axes=((1,), (1,))),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions_of_numpy(case: str) -> None:
    function = FUNCTIONS[case]
    y = function(leaf())
    assert isinstance(y, gz.Tensor)
    assert y.requires_grad
    np.testing.assert_allclose(y.numpy(), function(A), rtol=1e-14)
    assert_gradients(lambda t: function(t * t), A)


def test_every_function_in_the_table_was_tried() -> None:
    tried = {case.split()[0] for case in FUNCTIONS} | {"argmax", "argmin"}
    assert {function.__name__ for function in operators.FUNCTIONS} == tried


@pytest.mark.parametrize(
    "function",
    [
        np.zeros_like, np.ones_like, lambda t: np.full_like(t, 3), np.argmax, lambda t: np.argmin(t, axis=1), np.round,
        np.argsort, np.count_nonzero, lambda t: np.any(t > 1, axis=0), np.nonzero, lambda t: np.where(t > 1),
        lambda t: np.isclose(t, A),
    ],
)  # fmt: skip
def test_functions_in_steps_give_constants(function) -> None:
    got, expected = function(leaf()), function(A)
    for one, right in zip(*((got, expected) if isinstance(got, tuple) else ([got], [expected])), strict=True):
        if isinstance(one, gz.Tensor):
            assert not one.requires_grad
            one = one.numpy()
        np.testing.assert_array_equal(one, right)


def test_functions_that_ask_about_a_tensor() -> None:
    x = leaf()
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2, 3), 2, 6)
    assert np.result_type(x, np.float32(1)) == np.float64
    assert np.allclose(x, A) is True
    assert np.array_equal(A, x)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda t: np.median(t), r"np\.median cannot be recorded.*\n.*\n.*such as .*np\.mean"),
        (lambda t: np.linalg.inv(t[:, :2]), r"np\.linalg\.inv cannot be recorded"),
        (lambda t: np.array_split(t, 2), r"np\.array_split cannot be recorded.*\n.*\n.*np\.split"),
        (lambda t: np.sum(t, dtype=np.float32), r"np\.sum cannot be recorded with dtype="),
        (lambda t: np.sum(t, 0, np.float32), r"np\.sum cannot be recorded with dtype="),
        (lambda t: np.sum(t, out=np.zeros(())), r"with out="),
        (lambda t: np.mean(t, where=A > 1), r"with where=.*"),
        (lambda t: np.max(t, initial=3), r"with initial="),
        (lambda t: np.reshape(t, -1, order="F"), r"with order="),
        (lambda t: np.take(t, [0], mode="wrap"), r"with mode="),
        (lambda t: np.concatenate([t, t], dtype=np.float32), r"with dtype="),
        (lambda t: np.linalg.norm(t, "nuc"), r"norm cannot be recorded"),
        (lambda t: np.copyto(np.zeros((2, 3)), t), r"np\.copyto cannot"),
    ],
)
def test_functions_that_would_lose_the_gradient_are_refused(call, says) -> None:
    with pytest.raises(gz.UnsupportedError, match=says):
        call(leaf())


def test_an_array_of_a_tracked_tensor_is_refused_and_of_a_constant_is_not() -> None:
    with pytest.raises(gz.UnsupportedError, match=r"np\.asarray"):
        np.asarray(leaf())
    np.testing.assert_array_equal(np.asarray(gz.tensor(A)), A)


def test_what_is_refused_names_the_users_line() -> None:
    with pytest.raises(gz.UnsupportedError) as caught:
        np.median(leaf())
    assert "test_operators.py" in caught.value.__notes__[0]


def test_nothing_is_recorded_without_need() -> None:
    with gz.Tape() as tape:
        y = gz.tensor(A) * 2 + np.exp(gz.tensor(B)).sum()
    assert len(tape) == 0
    assert not y.requires_grad


def test_graph_of_operations_leaves_no_cycles(no_cycles) -> None:
    x = leaf()
    y = np.concatenate([x @ B.T, np.where(x > 1, x, 0)[:, [0, 0]]], axis=1).max(axis=0).prod()
    y.backward()
    del x, y


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x % 2, "np.remainder"),
        (lambda x: 2 % x, "np.remainder"),
        (lambda x: divmod(x, 2), "np.divmod"),
        (lambda x: divmod(2, x), "np.divmod"),
        (lambda x: A % x, "np.remainder"),
    ],
)
def test_operators_that_tensors_lack_say_what_to_use(operation, name):
    with pytest.raises(gz.UnsupportedError, match=rf"{name} cannot be recorded(.|\n)*use {name}\(x.numpy\(\)\)"):
        operation(leaf())
