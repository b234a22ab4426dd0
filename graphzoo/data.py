"""Batches from arrays, in an order that a seed fixes and a checkpoint continues; splitting into two parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphzoo.errors import ArgumentError, ShapeError, StateError, UnsupportedError, describe
from graphzoo.module import generator
from graphzoo.tensor import Tensor


class DataLoader:
    """Cuts arrays of equal length into batches, in order or shuffled anew for every epoch.

    Iterating over it is one epoch. A batch has the form of the data: an array for one array, a tuple for
    several, a dict for a dict. Batches are copies, so they may be changed.

    Args:
        arrays: array-likes whose first axes have the same length N; or one tuple or dict of them.
        batch_size: samples per batch, ≥ 1.
        shuffle: whether every epoch has a random order of its own.
        drop_last: whether to leave out a last batch that is smaller than the others.
        rng: int seed, NumPy `Generator` or None (fresh entropy) for the order. One number is drawn from it
            per epoch.

    Attributes:
        epoch: how many epochs have been run to their end.

    Raises:
        ArgumentError: no arrays, or an impossible batch size.
        ShapeError: arrays without a first axis, or of different lengths.

    >>> x, y = np.arange(10).reshape(5, 2), np.arange(5)
    >>> for inputs, targets in DataLoader(x, y, batch_size=2):
    ...     print(inputs.tolist(), targets)
    [[0, 1], [2, 3]] [0 1]
    [[4, 5], [6, 7]] [2 3]
    [[8, 9]] [4]

    Resuming: the state holds the order of the running epoch and the place in it.

    >>> loader = DataLoader(y, batch_size=2, shuffle=True, rng=0)
    >>> batches = iter(loader)
    >>> first, state = next(batches), loader.state_dict()
    >>> resumed = DataLoader(y, batch_size=2, shuffle=True)
    >>> resumed.load_state_dict(state)
    >>> [b.tolist() for b in resumed] == [b.tolist() for b in batches]
    True
    """

    def __init__(
        self,
        *arrays: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        if not isinstance(batch_size, int | np.integer) or isinstance(batch_size, bool) or batch_size < 1:
            raise ArgumentError("DataLoader: impossible batch_size", got=describe(batch_size), expected="an int ≥ 1")
        self._names: list[Any] | None = None  # the keys of a batch, if it is a dict
        self._single = False  # whether a batch is one array
        if len(arrays) == 1 and isinstance(arrays[0], Mapping):
            self._names, arrays = list(arrays[0]), tuple(arrays[0].values())
        elif len(arrays) == 1 and isinstance(arrays[0], tuple):
            arrays = arrays[0]
        else:
            self._single = len(arrays) == 1
        self._arrays = _equally_long("DataLoader", arrays, self._names)
        self.batch_size = int(batch_size)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.epoch = 0
        self._rng = generator(rng)
        self._order_seed: int | None = None  # of the running or last epoch
        self._position = 0  # batches of that epoch handed out so far
        self._resuming = False

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def samples(self) -> int:
        """N, the common length of the arrays."""
        return len(self._arrays[0])

    def __iter__(self) -> Iterator[Any]:
        """An epoch: a new one, or after `load_state_dict` the rest of the saved one."""
        if self._resuming:
            self._resuming = False
        else:
            self._position = 0
            # The order comes from a seed of its own: a generator shared with others is never wound back on
            # resuming.
            self._order_seed = int(self._rng.integers(2**63)) if self.shuffle else None
        return self._batches(self._order_seed, self._position)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, as plain numbers for `gz.save`: everything but the data.

        A batch that was handed out counts as used: save after the step that used it. After an epoch that was
        left early the state continues that epoch.
        """
        return {
            "epoch": self.epoch,
            "position": self._position,
            "order_seed": self._order_seed,
            "generator": self._rng.bit_generator.state,
            **self._identity(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues where the state was taken: the next iteration hands out the rest of its epoch.

        Args:
            state_dict: the state of a loader over the same data with the same options.

        Raises:
            StateError: lists missing and unexpected keys, or what differs: number of samples, batch size,
                options, kind of generator.
        """
        own = self.state_dict()
        problems = [f"missing {key!r}" for key in own if key not in state_dict]
        problems += [f"unexpected {key!r}" for key in state_dict if key not in own]
        problems += [
            f"{key} was {state_dict[key]!r}, here it is {value!r}"
            for key, value in self._identity().items()
            if key in state_dict and state_dict[key] != value
        ]
        kind = self._rng.bit_generator.state["bit_generator"]
        if not problems and state_dict["generator"]["bit_generator"] != kind:
            problems.append(f"the generator was a {state_dict['generator']['bit_generator']}, here it is a {kind}")
        if problems:
            raise StateError("the state does not fit this DataLoader: " + "; ".join(problems))
        self.epoch = int(state_dict["epoch"])
        self._position = int(state_dict["position"])
        self._order_seed = state_dict["order_seed"]
        self._rng.bit_generator.state = state_dict["generator"]
        # Without a seed nothing was shuffled, or no epoch was begun.
        self._resuming = self._order_seed is not None or self._position > 0

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.samples:,} samples in {len(self):,} batches of {self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last})"
        )

    def _identity(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def _batches(self, order_seed: int | None, position: int) -> Iterator[Any]:
        order = np.arange(self.samples)
        if order_seed is not None:
            order = np.random.default_rng(order_seed).permutation(self.samples)
        while position < len(self):
            chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
            position += 1
            self._position = position
            yield self._formed([array[chosen] for array in self._arrays])
        self._position, self._order_seed = 0, None
        self.epoch += 1

    def _formed(self, parts: list[np.ndarray]) -> Any:
        if self._names is not None:
            return dict(zip(self._names, parts, strict=True))
        return parts[0] if self._single else tuple(parts)


def train_test_split(
    *arrays: Any,
    test_size: float | int = 0.25,
    rng: int | np.random.Generator | None = None,
    shuffle: bool = True,
) -> tuple[np.ndarray, ...]:
    """Splits arrays of equal length along their first axis into training and test parts, rows staying
    together.

    Args:
        arrays: array-likes whose first axes have the same length N.
        test_size: part of the samples in (0, 1), rounded up; or their number from 1 to N − 1.
        rng: int seed, NumPy `Generator` or None (fresh entropy) for the choice.
        shuffle: whether to choose at random; otherwise the test samples are the last ones (for time series).

    Returns:
        ``(a_train, a_test, b_train, b_test, …)``, copies.

    Raises:
        ArgumentError: no arrays, or a size that leaves one part empty.
        ShapeError: arrays without a first axis, or of different lengths.

    >>> x, y = np.arange(10).reshape(5, 2), np.arange(5)
    >>> x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.4, rng=0)
    >>> x_train.shape, y_test.shape
    ((3, 2), (2,))
    """
    parts = _equally_long("train_test_split", arrays, None)
    samples = len(parts[0])
    is_count = isinstance(test_size, int | np.integer) and not isinstance(test_size, bool)
    test = int(test_size) if is_count else math.ceil(test_size * samples)
    if not 0 < test < samples or (not is_count and not 0 < test_size < 1):
        raise ArgumentError(
            f"train_test_split: test_size must leave something on both sides of {samples} samples",
            got=describe(test_size),
            expected="a fraction in (0, 1) or a number of samples",
        )
    order = generator(rng).permutation(samples) if shuffle else np.arange(samples)
    chosen = order[: samples - test], order[samples - test :]
    return tuple(part[index] for part in parts for index in chosen)


def _equally_long(owner: str, arrays: tuple[Any, ...], names: list[Any] | None) -> list[np.ndarray]:
    if not arrays:
        raise ArgumentError(f"{owner} needs at least one array", got="none")
    parts = [_as_array(owner, array) for array in arrays]
    labels = [f"array {i}" for i in range(len(parts))] if names is None else [repr(name) for name in names]
    for label, part in zip(labels, parts, strict=True):
        if part.ndim == 0:
            raise ShapeError(f"{owner}: {label} has no first axis to split along", got=describe(part))
    if len({len(part) for part in parts}) > 1:
        lengths = ", ".join(f"{label}: {len(part)}" for label, part in zip(labels, parts, strict=True))
        raise ShapeError(f"{owner}: the arrays differ in length", got=lengths, expected="one length for all")
    return parts


def _as_array(owner: str, value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.numpy()
    try:
        array = np.asarray(value)
    except ValueError:  # nested lists of different lengths, or a list of arrays
        array = None
    if array is None or array.dtype.hasobject:
        raise UnsupportedError(
            f"{owner} works on arrays",
            got=describe(value),
            expected="something that np.asarray makes an array of numbers or text of",
            todo="pass several arrays as several arguments, not as a list",
        )
    return array
