"""Training by truncated backpropagation through time, with a progress bar and a Ctrl-C that loses nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import numpy as np

import graphzoo as gz
from graphzoo.doctor import THREAD_VARIABLES
from graphzoo.kernels.blas import in_one_thread, libraries

from .model import CharacterModel
from .text import windows

LEARNING_RATE = 4e-3
GRADIENT_NORM = 1.0
SECONDS_A_LINE = 5  # of progress, where no bar can be drawn
SMOOTH = 50  # steps over which a loss that is shown is averaged


@dataclass
class History:
    """What a training was like: the loss of each step in nats per character, and how long it took."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def recent(self) -> float:
        """The mean loss of the last steps."""
        return float(np.mean(self.losses[-SMOOTH:]))


def train(model: CharacterModel, streams: np.ndarray, steps: int, unroll: int) -> History:
    """Let the model learn from streams of characters (length, batch), `unroll` time steps at a time.

    The state is carried on from window to window, cut off its graph, and starts anew with each pass through
    the text. Ctrl-C ends the training after the step at hand; a second one is a KeyboardInterrupt as ever.
    """
    criterion = gz.CrossEntropyLoss()
    optimizer = gz.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = gz.optim.CosineAnnealingLR(optimizer, T_max=steps, eta_min=LEARNING_RATE / 20)
    history = History()
    state = None
    start = time.perf_counter()
    with ctrl_c() as pressed, progress(steps, unroll * streams.shape[1]) as advance:
        for (inputs, targets, anew), _ in zip(again_and_again(streams, unroll), range(steps), strict=False):
            logits, state = model(inputs, None if anew else gz.detach_state(state))
            loss = criterion(logits, targets.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            gz.optim.clip_grad_norm(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            history.losses.append(loss.item())
            advance(history.recent)
            if pressed():
                history.interrupted = True
                break
    history.seconds = time.perf_counter() - start
    return history


@gz.no_grad()
def evaluate(model: CharacterModel, characters: np.ndarray, unroll: int) -> float:
    """The mean loss, in nats per character, on characters (length, batch) that the model only reads."""
    criterion = gz.CrossEntropyLoss()
    losses, state = [], None
    for inputs, targets in windows(characters, unroll):
        logits, state = model(inputs, state)
        losses.append(criterion(logits, targets.reshape(-1)).item())
    return float(np.mean(losses))


def again_and_again(streams: np.ndarray, unroll: int) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """The windows of the streams, from the start again after the last; and whether a window is the first."""
    while True:
        for index, (inputs, targets) in enumerate(windows(streams, unroll)):
            yield inputs, targets, index == 0


@contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Within this block the first Ctrl-C is only noted; the function it hands out tells whether it came."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: False
        return
    noted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Within this block OpenBLAS works on one thread; tells whether that is so.

    The demo's products are too small to gain from more, and threads that have to wait for a core that another program
    uses make them many times slower. Where the user has set a number of threads, it stays.
    """
    if {"OMP_NUM_THREADS", *THREAD_VARIABLES.values()} & os.environ.keys() or not libraries():
        yield False
        return
    with in_one_thread():
        yield True


@contextmanager
def progress(steps: int, characters: int) -> Iterator[Callable[[float], None]]:
    """Shows progress on stderr: a bar on a terminal, plain lines elsewhere and where the variable CI is set.

    A terminal that tells no width, as over some remote connections, gets lines, too: tqdm would draw nothing there.

    Args:
        steps: how many there will be.
        characters: how many are read in each.

    Yields:
        A function to be called with the loss after each step.
    """
    terminal = sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    if not terminal or os.environ.get("CI"):
        yield plain_lines(steps, characters)
        return
    from tqdm import tqdm

    form = "{percentage:3.0f}%|{bar}| {desc} | {rate_fmt} | {elapsed} gone, {remaining} left"
    total = steps * characters
    with tqdm(total=total, unit="char", unit_scale=True, bar_format=form, dynamic_ncols=True) as bar:

        def advance(loss: float) -> None:
            bar.set_description_str(f"loss {loss:.3f}", refresh=False)
            bar.update(characters)

        yield advance


def plain_lines(steps: int, characters: int) -> Callable[[float], None]:
    """A function to be called with the loss after each step; prints the first, the last, and one now and then."""
    start = time.perf_counter()
    due = start
    done = 0

    def advance(loss: float) -> None:
        nonlocal due, done
        done += 1
        now = time.perf_counter()
        if now >= due or done == steps:
            due = now + SECONDS_A_LINE
            speed = done / (now - start)
            print(
                f"step {done}/{steps}, loss {loss:.3f}, {speed * characters:,.0f} chars/s, "
                f"{(steps - done) / speed:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    return advance
