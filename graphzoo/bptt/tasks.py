"""The synthetic tasks that recurrent networks are measured by, and what a network without memory reaches on them.

Each function draws one batch; with a generator for `rng`, every call draws the next one. Inputs are float32 with time
first; whole-number targets are int64 classes for `gz.CrossEntropyLoss`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..module import Module, generator
from ..state import Parameter
from ..tensor import Tensor
from ..zoo.array import concatenate
from .results import LIVE, Result
from .text import alphabet_of, encode, reference_text

Rng = int | np.random.Generator | None


@dataclass(eq=False, repr=False)
class Task(Result):
    """A batch of a task.

    Attributes:
        name: of the task.
        x: (T, B, F) inputs.
        y: targets: (B, ...) for one answer at the end, (T, B, ...) for one at each step.
        loss: ``"mse"`` or ``"cross entropy"``: what `baseline` is in.
        baseline: the mean loss of the best prediction without memory; nats for the cross entropy.
        answers: how many classes, or numbers, a prediction consists of.
        mask: (T, B), which steps' answers count; None: all.
        lengths: (B,) of the sequences; None: all T.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    loss: str
    baseline: float
    answers: int
    mask: np.ndarray | None = None
    lengths: np.ndarray | None = None

    def _draw(self, ax: Any) -> None:
        ax.imshow(self.x[:, 0].T, aspect="auto", origin="lower", interpolation="nearest", cmap="Greys")
        ax.set_xlabel("time step")
        ax.set_ylabel("feature of the input, sequence 0")
        ax.set_title(self.name)


def one_hot(symbols: np.ndarray, count: int) -> np.ndarray:
    """(T, B) symbols as (T, B, count); a symbol below 0 as zeros."""
    return (symbols[..., None] == np.arange(count)).astype(np.float32)


def check(task: str, steps: int, least: int, batch: int) -> None:
    """Refuse sizes with which there is no task."""
    if steps < least or batch < 1:
        raise ArgumentError(
            f"{task}: impossible sizes", got=f"{steps} steps, batch {batch}", expected=f"steps ≥ {least}, batch ≥ 1"
        )


def adding(steps: int = 100, batch: int = 32, rng: Rng = None) -> Task:
    """The adding problem: the sum of the two numbers that are marked.

    x (T, B, 2): numbers uniform on [0, 1]; marks, one in each half of the sequence. y (B, 1). Predicting 1 always has a
    mean squared error of 1/6, the variance of the sum of two uniform numbers.

    Source: S. Hochreiter, J. Schmidhuber, "Long short-term memory" (1997), section 5.4; this form: M. Arjovsky,
    A. Shah, Y. Bengio, "Unitary evolution recurrent neural networks" (ICML 2016), section 4.2.

    >>> task = adding(10, 4, rng=0)
    >>> task.x.shape, task.y.shape, round(task.baseline, 4)
    ((10, 4, 2), (4, 1), 0.1667)
    >>> np.allclose((task.x[..., 0] * task.x[..., 1]).sum(axis=0), task.y[:, 0])
    True
    """
    check("adding", steps, 2, batch)
    rng = generator(rng)
    x = np.zeros((steps, batch, 2), np.float32)
    x[..., 0] = rng.uniform(0, 1, (steps, batch))
    places = rng.integers(0, steps // 2, batch), rng.integers(steps // 2, steps, batch)
    each = np.arange(batch)
    for place in places:
        x[place, each, 1] = 1
    y = (x[places[0], each, 0] + x[places[1], each, 0])[:, None]
    return Task("adding", x, y, "mse", 1 / 6, 1)


def copy_memory(delay: int = 100, batch: int = 32, rng: Rng = None, *, length: int = 10, symbols: int = 8) -> Task:
    """Copy memory: repeat `length` symbols after a delay.

    x (T, B, symbols + 2) one-hot, T = delay + 2·length: the symbols 1 … S, then blanks (0), with a delimiter (S + 1)
    where the answer is to begin. y (T, B): blanks, and the symbols in the last `length` steps. Knowing the time but not
    the symbols has a mean cross entropy of length · ln S / T: 10 ln 8 / (delay + 20).

    Source: M. Arjovsky, A. Shah, Y. Bengio, "Unitary evolution recurrent neural networks" (ICML 2016), section 4.1,
    after Hochreiter and Schmidhuber (1997).

    >>> task = copy_memory(5, 2, rng=0, length=3, symbols=2)
    >>> task.x.argmax(-1)[:, 0].tolist(), task.y[:, 0].tolist()
    ([2, 2, 1, 0, 0, 0, 0, 3, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 1])
    """
    check("copy_memory", delay, 1, batch)
    if length < 1 or symbols < 1:
        raise ArgumentError("copy_memory: impossible sizes", got=f"length {length}, {symbols} symbols", expected="≥ 1")
    steps = delay + 2 * length
    drawn = generator(rng).integers(1, symbols + 1, (length, batch))
    shown = np.zeros((steps, batch), np.int64)
    shown[:length] = drawn
    shown[steps - length - 1] = symbols + 1
    y = np.zeros((steps, batch), np.int64)
    y[steps - length :] = drawn
    baseline = length * math.log(symbols) / steps
    return Task("copy memory", one_hot(shown, symbols + 2), y, "cross entropy", baseline, symbols + 1)


def temporal_order(steps: int = 100, batch: int = 32, rng: Rng = None) -> Task:
    """Temporal order: in which order came the two special symbols, A or B each?

    x (T, B, 6) one-hot of A, B and four distractors; the first special symbol lies in the second tenth of the sequence,
    the second in its fifth tenth. y (B,): AA, AB, BA, BB as 0 to 3. Without memory the cross entropy is ln 4.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks" (ICML 2013),
    section 4.1, after Hochreiter and Schmidhuber (1997), section 5.6.

    >>> task = temporal_order(20, 3, rng=0)
    >>> special = task.x[:, 0, :2].sum(axis=-1).nonzero()[0]
    >>> bool(task.x[special, 0].argmax(-1) @ [2, 1] == task.y[0]), special.min() in (2, 3), special.max() in (8, 9)
    (True, True, True)
    """
    check("temporal_order", steps, 10, batch)
    rng = generator(rng)
    shown = rng.integers(2, 6, (steps, batch))
    first = rng.integers(steps // 10, 2 * steps // 10, batch)
    second = rng.integers(4 * steps // 10, 5 * steps // 10, batch)
    special = rng.integers(0, 2, (2, batch))
    each = np.arange(batch)
    shown[first, each], shown[second, each] = special
    return Task("temporal order", one_hot(shown, 6), 2 * special[0] + special[1], "cross entropy", math.log(4), 4)


def parity(steps: int = 100, batch: int = 32, rng: Rng = None) -> Task:
    """Parity: at each step, whether the number of ones so far is odd.

    x (T, B, 1) of 0 and 1, evenly likely; y (T, B) of 0 and 1. Without memory the first step alone is known (its bit is
    the answer): the mean cross entropy is ln 2 · (T − 1)/T.

    Source: Hochreiter and Schmidhuber (1997), section 5.1 and the references there, with an answer at each step.

    >>> task = parity(4, 1, rng=1)
    >>> task.x[:, 0, 0].tolist(), task.y[:, 0].tolist()
    ([0.0, 1.0, 1.0, 1.0], [0, 1, 0, 1])
    """
    check("parity", steps, 1, batch)
    bits = generator(rng).integers(0, 2, (steps, batch))
    y = np.bitwise_xor.accumulate(bits, axis=0)
    baseline = math.log(2) * (steps - 1) / steps
    return Task("parity", bits[..., None].astype(np.float32), y, "cross entropy", baseline, 2)


# Reber grammars -------------------------------------------------------------------------------------------------------

SYMBOLS = "BTPSXVE"

# From each state: the symbols that may follow, with equal probability, and the states they lead to.
REBER = [{"B": 1}, {"T": 2, "P": 3}, {"S": 2, "X": 4}, {"T": 3, "V": 5}, {"X": 3, "S": 6}, {"P": 4, "V": 6}, {"E": 7}]


def reber_string(rng: np.random.Generator) -> tuple[str, list[str]]:
    """A string of the grammar, and for each of its symbols but the last those that may follow."""
    text, allowed, state = "", [], 0
    while state < len(REBER):
        choices = REBER[state]
        allowed.append("".join(choices))
        symbol = allowed[-1][rng.integers(len(choices))]
        text += symbol
        state = choices[symbol]
    return text, allowed[1:]


def embedded_string(rng: np.random.Generator) -> tuple[str, list[str]]:
    """A string of the embedded grammar: B, T or P, a Reber string, the same T or P again, E."""
    inner, allowed = reber_string(rng)
    frame = "TP"[rng.integers(2)]
    return f"B{frame}{inner}{frame}E", ["TP", "B", *allowed, frame, "E"]


@dataclass(eq=False, repr=False)
class Grammar(Task):
    """A batch of strings to predict symbol by symbol. Beyond what a `Task` has:

    Attributes:
        allowed: (T, B, 7) which symbols may follow; zeros behind a string's end.
        optimum: the mean cross entropy over the counting steps of the predictor that knows the grammar and the past.
        strings: as text.
    """

    allowed: np.ndarray = field(default_factory=lambda: np.zeros(0))
    optimum: float = 0.0
    strings: list[str] = field(default_factory=list, metadata=LIVE)


def reber(batch: int = 32, rng: Rng = None) -> Grammar:
    """The Reber grammar: predict the next symbol of a string, of which at most two are possible.

    x (T, B, 7) one-hot of B, T, P, S, X, V, E, zeros behind the end; y (T, B) the next symbol; lengths and mask say
    what counts. The baseline ln 7 is that of a uniform guess; the optimum has ln 2 where two symbols are possible.

    Source: A. S. Reber, "Implicit learning of artificial grammars" (1967); A. Cleeremans, D. Servan-Schreiber,
    J. McClelland, "Finite state automata and simple recurrent networks" (1989).

    >>> task = reber(2, rng=0)
    >>> task.strings[0][0], task.strings[0][-1], task.y[0, 0] in (1, 2)
    ('B', 'E', True)
    """
    check("reber", 1, 1, batch)
    rng = generator(rng)
    return grammar("Reber", [reber_string(rng) for _ in range(batch)], None)


def embedded_reber(batch: int = 32, rng: Rng = None) -> Grammar:
    """The embedded Reber grammar: the last symbol but one is the second one again, across a Reber string.

    As `reber`, but that `mask` shows the one step that needs the long memory: the prediction of the last symbol but
    one. There the baseline is ln 2 (T or P), and the optimum 0.

    Source: S. Hochreiter, J. Schmidhuber, "Long short-term memory" (1997), section 5.1.

    >>> task = embedded_reber(3, rng=0)
    >>> all(text[1] == text[-2] for text in task.strings), task.mask.sum(axis=0).tolist()
    (True, [1, 1, 1])
    """
    check("embedded_reber", 1, 1, batch)
    rng = generator(rng)
    strings = [embedded_string(rng) for _ in range(batch)]
    return grammar("embedded Reber", strings, [len(text) - 3 for text, _ in strings])


def grammar(name: str, strings: list[tuple[str, list[str]]], critical: list[int] | None) -> Grammar:
    """A batch of strings, padded to the longest."""
    lengths = np.array([len(text) - 1 for text, _ in strings])
    steps, batch = int(lengths.max()), len(strings)
    shown = np.full((steps, batch), -1)
    y = np.zeros((steps, batch), np.int64)
    allowed = np.zeros((steps, batch, len(SYMBOLS)), np.float32)
    for b, (text, choices) in enumerate(strings):
        codes = [SYMBOLS.index(symbol) for symbol in text]
        shown[: lengths[b], b] = codes[:-1]
        y[: lengths[b], b] = codes[1:]
        for t, choice in enumerate(choices):
            allowed[t, b, [SYMBOLS.index(symbol) for symbol in choice]] = 1
    mask = np.arange(steps)[:, None] < lengths
    if critical is not None:
        mask = np.arange(steps)[:, None] == np.array(critical)
    optimum = float(np.log(allowed.sum(axis=-1)[mask]).mean())
    baseline = math.log(len(SYMBOLS)) if critical is None else math.log(2)
    return Grammar(
        name, one_hot(shown, len(SYMBOLS)), y, "cross entropy", baseline, len(SYMBOLS), mask, lengths,
        allowed=allowed, optimum=optimum, strings=[text for text, _ in strings],
    )  # fmt: skip


# Influence balancing --------------------------------------------------------------------------------------------------


class InfluenceBalancing(Module):
    """A linear recurrence whose parameter pushes the read-out one way at first, and the other way in the long run.

    s′_i = (s_i + s_{i+1})/2 ± θ, s′_n = s_n/2 ± θ: + for the first `positive` of the n units, − for the others; the
    output is s_1. In equilibrium s_1 = 2θ(2·positive − n), so that the loss (s_1 − 1)²/2 is least at
    θ* = 1/(2(2·positive − n)). With more negative units than positive ones, gradients that are truncated too early
    have the wrong sign, and training on them moves away from θ*.

    Args:
        units: n.
        positive: how many of them θ pushes up.

    Shapes: x is ignored; state (n,) or (B, n). Returns (s_1, state).

    Source: C. Tallec, Y. Ollivier, "Unbiasing truncated backpropagation through time" (2017), section 5.

    >>> import numpy as np, graphzoo as gz
    >>> cell = gz.bptt.tasks.InfluenceBalancing()
    >>> cell.best
    -0.16666666666666666
    """

    def __init__(self, units: int = 23, positive: int = 10) -> None:
        if not 0 <= positive <= units or 2 * positive == units:
            raise ArgumentError(
                "InfluenceBalancing: impossible sizes",
                got=f"{units} units, {positive} of them positive",
                expected="0 ≤ positive ≤ units, and not just half of them",
            )
        self.units = units
        self.positive = positive
        self.theta = Parameter(0.0, np.float64)
        self.signs = np.where(np.arange(units) < positive, 1.0, -1.0)

    @property
    def best(self) -> float:
        """θ*, at which the output tends to 1."""
        return 1 / (2 * (2 * self.positive - self.units))

    @property
    def start(self) -> np.ndarray:
        """The state to begin with: zeros."""
        return np.zeros(self.units)

    def forward(self, x: Any, state: Tensor) -> tuple[Tensor, Tensor]:
        shifted = concatenate([state[..., 1:], state[..., :1] * 0.0], axis=-1)
        new = (state + shifted) * 0.5 + self.theta * self.signs
        return new[..., 0], new


def influence_balancing(steps: int = 1000) -> Task:
    """What an `InfluenceBalancing` cell is trained on: no input, and a 1 at each step.

    x (T, 1, 1) zeros, y (T,) ones. The baseline is the mean squared error at θ = 0, which is 1.

    >>> influence_balancing(5).y
    array([1., 1., 1., 1., 1.])
    """
    check("influence_balancing", steps, 1, 1)
    return Task("influence balancing", np.zeros((steps, 1, 1), np.float32), np.ones(steps), "mse", 1.0, 1)


# Text -----------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class Characters(Task):
    """A batch of stretches of text to predict character by character. Beyond what a `Task` has:

    Attributes:
        alphabet: the characters, in the order of their classes.
    """

    alphabet: str = field(default="", metadata=LIVE)


def characters(steps: int = 100, batch: int = 32, rng: Rng = None, *, text: str | None = None) -> Characters:
    """Text, character by character: predict the next one.

    x (T, B, A) one-hot of the A characters that occur in the text, y (T, B) the next character; each sequence starts at
    a random place. The baseline is what is left to predict for whoever knows the present character alone: the entropy
    of a character given the one before it, as counted over the text.

    Args:
        steps, batch: T, B.
        rng: seed or generator.
        text: at least T + 1 characters; by default Python's reference manual, which every installation has.

    Source: J. L. Elman, "Finding structure in time" (1990); I. Sutskever, J. Martens, G. Hinton, "Generating text with
    recurrent neural networks" (2011). The baseline: C. E. Shannon, "Prediction and entropy of printed English" (1951),
    equation 1 with N = 2.

    >>> task = characters(6, 2, rng=0, text="abracadabra")
    >>> task.x.shape, task.alphabet, round(task.baseline, 3)
    ((6, 2, 5), 'abcdr', 0.416)
    >>> "".join(task.alphabet[c] for c in task.x[1:, 0].argmax(-1)) == "".join(task.alphabet[c] for c in task.y[:-1, 0])
    True
    """
    check("characters", steps, 1, batch)
    text = reference_text() if text is None else text
    if len(text) <= steps:
        raise ArgumentError(
            "characters: the text is too short", got=f"{len(text)} characters", expected=f"more than {steps}, the steps"
        )
    codes, alphabet, baseline = counted(text)
    starts = generator(rng).integers(0, len(codes) - steps, batch)
    shown = codes[np.arange(steps + 1)[:, None] + starts].astype(np.int64)
    count = len(alphabet)
    return Characters(
        "characters", one_hot(shown[:-1], count), shown[1:], "cross entropy", baseline, count, alphabet=alphabet
    )


@lru_cache(maxsize=4)  # a task draws many batches of one text
def counted(text: str) -> tuple[np.ndarray, str, float]:
    """A text's characters as numbers, its alphabet, and the entropy of a character given the one before it, nats."""
    alphabet = alphabet_of(text)
    codes = encode(text, alphabet)
    pairs = np.zeros((len(alphabet), len(alphabet)))
    np.add.at(pairs, (codes[:-1], codes[1:]), 1)
    seen = pairs[pairs > 0] / pairs.sum()
    before = pairs.sum(axis=1)[pairs.sum(axis=1) > 0] / pairs.sum()
    return codes, alphabet, float((before * np.log(before)).sum() - (seen * np.log(seen)).sum())
