"""The text a demo learns from: read, checked, and cut into streams of character indices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..bptt.text import reference_text

# One part in so many is kept from the training, to measure how well what was learnt carries over.
HELD_OUT = 20
MOST_HELD_OUT = 20_000  # characters: more would take long and tell little


class InputError(Exception):
    """What the user gave cannot be used. The message is one line that says what to do."""


def read_text(path: Path | None) -> str:
    """The text in a file, or Python's reference manual (`pydoc_data.topics`) for None; with plain newlines.

    Raises:
        InputError: the file cannot be read, is empty, or is not UTF-8 text.
    """
    if path is None:
        return reference_text()
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if b"\0" in raw:
        raise InputError(f"{path} is not text: byte {raw.index(0)} is NUL; expected a UTF-8 text file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: byte {error.start} is 0x{raw[error.start]:02x}; "
            "convert it, for example with iconv -t utf-8"
        ) from None
    if not text.strip():
        raise InputError(f"{path} is empty: expected text to learn from")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split(characters: np.ndarray, batch: int, unroll: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a text into `batch` streams to learn from side by side, and a part at the end that is held out.

    Returns:
        The streams, int32 (length of each, batch), and the held-out part, int32 (length, 1).

    Raises:
        InputError: the text is shorter than one step of training needs.
    """
    # Each part must hold one window and the character after it.
    least = max(HELD_OUT, -(-batch * HELD_OUT // (HELD_OUT - 1))) * (unroll + 1)
    if len(characters) < least:
        raise InputError(
            f"the text is too short: {len(characters)} characters, expected at least {least} "
            f"for --batch {batch} --unroll {unroll}; give a longer text or smaller numbers"
        )
    held_out = min(len(characters) // HELD_OUT, MOST_HELD_OUT)
    length = (len(characters) - held_out) // batch
    streams = characters[: length * batch].reshape(batch, length)
    return np.ascontiguousarray(streams.T), characters[-held_out:, None]


def windows(streams: np.ndarray, unroll: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One pass through streams (length, batch): inputs and targets (unroll, batch), window after window.

    The target of a character is the one after it. What is left at the end and fills no window is left out.
    """
    for start in range(0, len(streams) - unroll, unroll):
        yield streams[start : start + unroll], streams[start + 1 : start + unroll + 1]
