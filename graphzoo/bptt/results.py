"""What every result of the study kit is: a small dataclass of named arrays that prints, saves and draws itself."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Arrays = dict[str, np.ndarray]

LIVE = {"live": True}
"""Metadata of a field that holds tensors or modules, and is neither printed nor saved."""


class Result:
    """Base of the results. A field is an array, a dictionary of arrays, a number or a text; None where it has no sense.

    Subclasses are dataclasses (with ``eq=False, repr=False``: arrays have no single truth, and print long) and define
    `_draw`. A field of another kind is marked with `LIVE`.
    """

    def arrays(self) -> Arrays:
        """Every array and number by name; those in a dictionary as ``field.key``."""
        named: Arrays = {}
        for field in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = None if field.metadata.get("live") else getattr(self, field.name)
            if isinstance(value, dict):
                named.update({f"{field.name}.{key}": np.asarray(item) for key, item in value.items()})
            elif value is not None:
                named[field.name] = np.asarray(value)
        return named

    def to_npz(self, path: str | os.PathLike[str]) -> None:
        """Write `arrays()` to a compressed npz file, which `numpy.load` opens."""
        np.savez_compressed(path, **self.arrays())  # type: ignore[arg-type]  # its stub: any name might be allow_pickle

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the result with matplotlib.

        Args:
            ax: the axes to draw into; those of a new figure if None.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: matplotlib is not installed (``pip install graphzoo[plot]``).
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(layout="constrained")
        self._draw(ax)
        return ax

    def _draw(self, ax: Axes) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        named = self.arrays()
        width = max(map(len, named), default=0)
        return "\n".join([type(self).__name__, *(f"  {name:{width}}  {summary(a)}" for name, a in named.items())])


def summary(array: np.ndarray) -> str:
    """An array in a few words: shape and range, or its value if it is a single one.

    >>> summary(np.array([[1.0, -2.0], [0.5, 3.0]])), summary(np.float64(0.25)), summary(np.array(["a"]))
    ('float64 (2, 2)  -2 … 3', '0.25', '<U1 (1,)')
    """
    array = np.asarray(array)
    if array.ndim == 0:
        return f"{array[()]:.6g}" if array.dtype.kind in "fiu" else str(array[()])
    text = f"{array.dtype} {array.shape}"
    if array.dtype.kind not in "fiu" or not np.isfinite(array).any():
        return text
    finite = array[np.isfinite(array)]
    return f"{text}  {finite.min():.4g} … {finite.max():.4g}"


def norms(values: np.ndarray) -> np.ndarray:
    """Euclidean norms over the features of states (T, B, ...): (T, B), or (T,) for states without batch."""
    if values.ndim > 2:
        return np.linalg.norm(values.reshape(*values.shape[:2], -1), axis=-1)
    return np.linalg.norm(values.reshape(len(values), -1), axis=-1)


def over_batch(values: np.ndarray) -> np.ndarray:
    """The mean of (T, B) over the batch, (T,), for a curve over time."""
    return values.reshape(len(values), -1).mean(axis=1) if values.ndim > 1 else values


def curve(ax: Any, values: np.ndarray, label: str, style: str = "-") -> None:
    """A curve over time steps on a logarithmic axis; what is exactly zero leaves a gap."""
    ax.plot(np.where(np.asarray(values) > 0, values, np.nan), style, label=label)
    ax.set_yscale("log")
    ax.set_xlabel("time step")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of the angle between two arrays; NaN where one of them is zero."""
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.vdot(a, b) / scale) if scale > 0 else float("nan")
