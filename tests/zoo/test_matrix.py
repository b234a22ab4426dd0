"""Matrix products and Einstein sums against NumPy, central differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import graphzoo as gz
from tests.helpers import assert_gradients, assert_like_torch


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


SHAPES = [
    ((3,), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (6, 3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((1, 2, 3), (5, 3, 1)),
    ((5, 6, 2, 3), (3, 4)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul(a, b) -> None:
    x, y = normal(*a), normal(*b)
    np.testing.assert_allclose(gz.matmul(x, y).numpy(), x @ y)
    assert_gradients(lambda s, t: s @ t, x, y)
    assert_like_torch(lambda s, t: s @ t, lambda s, t: s @ t, x, y)


@settings(max_examples=40, deadline=None)
@given(mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, max_side=3))
def test_matmul_of_all_shapes(shapes) -> None:
    a, b = (normal(*shape) for shape in shapes.input_shapes)
    np.testing.assert_allclose(gz.matmul(a, b).numpy(), np.matmul(a, b))
    assert_gradients(gz.matmul, a, b, order=1)


def test_matmul_with_arrays_in_either_order() -> None:
    a, b = normal(2, 3), normal(3, 4)
    assert_gradients(lambda t: a @ t, b)
    assert_gradients(lambda t: t @ b, a)
    assert_gradients(lambda t: t @ t.T @ t, a)


def test_matmul_saves_only_what_is_needed() -> None:
    x = gz.tensor(normal(2, 3), requires_grad=True)
    weight = gz.tensor(normal(3, 4))
    a, b = (x @ weight).node.saved
    assert a is None
    assert b is weight.numpy()


def test_matmul_of_no_rows() -> None:
    a, b = gz.tensor(np.empty((0, 3)), requires_grad=True), gz.tensor(normal(3, 2), requires_grad=True)
    (a @ b).sum().backward()
    assert a.grad.shape == (0, 3)
    np.testing.assert_array_equal(b.grad, np.zeros((3, 2)))


def test_matmul_of_shapes_that_do_not_fit() -> None:
    with pytest.raises(gz.ShapeError, match=r"float64 \(2, 3\), float64 \(2, 3\)"):
        gz.tensor(normal(2, 3)) @ gz.tensor(normal(2, 3))


EQUATIONS = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "ij,jk": ((2, 3), (3, 4)),
    "ba,cb": ((2, 3), (4, 2)),
    "ij->ji": ((2, 3),),
    "ij->": ((2, 3),),
    "ij->j": ((2, 3),),
    "ii->i": ((3, 3),),
    "ii": ((3, 3),),
    "iij->ij": ((3, 3, 2),),
    "iji->j": ((3, 2, 3),),
    "iii->i": ((3, 3, 3),),
    "ii,i->i": ((3, 3), (3,)),
    "ij,ij->": ((2, 3), (2, 3)),
    "i,j->ij": ((2,), (3,)),
    "ijk,il,lm->mk": ((2, 3, 4), (2, 5), (5, 2)),
    "i,j,k->": ((2,), (3,), (2,)),
    "...ij,...jk->...ik": ((5, 2, 3), (5, 3, 4)),
    "...ij,jk->...ik": ((2, 5, 2, 3), (3, 4)),
    "...i,...i->...": ((4, 1, 3), (2, 3)),
    "...i,...i": ((4, 1, 3), (2, 3)),
    "i...->...": ((3, 2, 4),),
    "...ii->...i": ((2, 3, 3),),
    "i...j,j->...i": ((2, 4, 3), (3,)),
    "ij , jk -> ik": ((2, 3), (3, 4)),
    "ij,kj->ik": ((2, 1), (4, 3)),
    ",ij->ij": ((), (2, 3)),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str) -> None:
    operands = [normal(*shape) for shape in EQUATIONS[equation]]
    np.testing.assert_allclose(gz.einsum(equation, *operands).numpy(), np.einsum(equation, *operands))
    assert_gradients(lambda *t: gz.einsum(equation, *t), *operands)


def test_einsum_of_one_tensor_twice() -> None:
    assert_gradients(lambda t: gz.einsum("ij,kj->ik", t, t), normal(2, 3))
    assert_gradients(lambda t: gz.einsum("ij,jk,kl->il", t, t, t), normal(3, 3))


def test_einsum_like_torch_when_large_enough_for_a_plan() -> None:
    torch = pytest.importorskip("torch")
    a, b = normal(6, 20, 10), normal(6, 10, 15)
    assert_like_torch(
        lambda s, t: gz.einsum("bij,bjk->bik", s, t), lambda s, t: torch.einsum("bij,bjk->bik", s, t), a, b
    )
    ours = gz.einsum("bij,cjk->bik", a, normal(1, 10, 15)).numpy()  # a size of 1 broadcasts with a plan, too
    np.testing.assert_allclose(ours, np.einsum("bij,jk->bik", a, normal(1, 10, 15)[0]))


def test_einsum_keeps_float32() -> None:
    x = gz.tensor(normal(3, 3).astype(np.float32), requires_grad=True)
    y = gz.einsum("ii->i", x)
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32


def test_einsum_says_what_is_wrong() -> None:
    with pytest.raises(gz.ArgumentError, match="one operand for each term"):
        gz.einsum("ij,jk->ik", normal(2, 3))
    with pytest.raises(gz.ArgumentError, match="equation first"):
        gz.einsum(normal(2, 3), [0, 1])
    with pytest.raises(gz.ShapeError):
        gz.einsum("ij,jk->ik", normal(2, 3), normal(2, 3))


@pytest.mark.parametrize(
    ("a", "b"), [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((4, 2, 3), (5, 3, 2)), ((), (2,))]
)
def test_dot(a, b) -> None:
    x, y = normal(*a), normal(*b)
    np.testing.assert_allclose(gz.dot(x, y).numpy(), np.dot(x, y))
    np.testing.assert_allclose(np.dot(gz.tensor(x), y).numpy(), np.dot(x, y))
    assert_gradients(gz.dot, x, y)


def test_inner_and_outer() -> None:
    for a, b in (((3,), (3,)), ((2, 3), (4, 3)), ((), (3,))):
        x, y = normal(*a), normal(*b)
        np.testing.assert_allclose(np.inner(x, gz.tensor(y)).numpy(), np.inner(x, y))
        np.testing.assert_allclose(np.outer(gz.tensor(x), y).numpy(), np.outer(x, y))
        assert_gradients(gz.inner, x, y)
        assert_gradients(gz.outer, x, y)


@pytest.mark.parametrize("axes", [0, 1, 2, ((1, 2), (0, 1)), ((-1, 1), (1, 0)), (2, 1)])
def test_tensordot(axes) -> None:
    x, y = normal(2, 3, 4), normal(3, 4, 2)
    if axes == 1:
        y = normal(4, 3)
    np.testing.assert_allclose(gz.tensordot(x, y, axes).numpy(), np.tensordot(x, y, axes))
    assert_gradients(lambda s, t: gz.tensordot(s, t, axes), x, y)


def test_tensordot_over_axes_of_different_sizes() -> None:
    with pytest.raises(gz.ShapeError, match="equal sizes"):
        gz.tensordot(normal(2, 3), normal(4, 2), 1)
