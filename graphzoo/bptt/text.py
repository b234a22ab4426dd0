"""Text as numbers, and the text that is always there."""

from __future__ import annotations

import numpy as np


def reference_text() -> str:
    """Python's reference manual, about 600 kB of English prose that every installation has (`pydoc_data.topics`)."""
    from pydoc_data.topics import topics

    paragraphs = "\n\n".join(topics.values()).split("\n\n")
    return "\n\n".join(dict.fromkeys(paragraphs))  # topics quote each other


def alphabet_of(text: str) -> str:
    """The characters that occur in the text, in the order of Unicode.

    >>> alphabet_of("banana")
    'abn'
    """
    return "".join(sorted(set(text)))


def encode(text: str, alphabet: str) -> np.ndarray:
    """The index in the alphabet of each character of the text, int32; −1 for one that is not in it.

    >>> encode("banana", "abn")
    array([1, 0, 2, 0, 2, 0], dtype=int32)
    """
    index = np.full(0x110000, -1, np.int32)
    index[code_points(alphabet)] = np.arange(len(alphabet))
    return index[code_points(text)]


def code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
