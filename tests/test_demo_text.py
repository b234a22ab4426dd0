"""The demo's text: what is read, what is refused, and how it is cut."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphzoo.bptt.text import alphabet_of, encode
from graphzoo.demo.text import InputError, read_text, split, windows


def test_the_default_text_is_long_and_in_english() -> None:
    text = read_text(None)
    assert len(text) > 300_000
    assert 'The "assert" statement\n' in text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Grüße, “you”\n".encode(), "Grüße, “you”\n"),
        (b"\xef\xbb\xbfwith a byte order mark", "with a byte order mark"),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
    ],
)
def test_text_is_read(raw: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(raw)
    assert read_text(tmp_path / "text") == text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "{} is empty: expected text to learn from"),
        (b" \n\t\n", "{} is empty: expected text to learn from"),
        (b"\x89PNG\r\n\x1a\n\0\0", "{} is not text: byte 8 is NUL; expected a UTF-8 text file"),
        (
            "Größe".encode("latin-1"),
            "{} is not UTF-8 text: byte 2 is 0xf6; convert it, for example with iconv -t utf-8",
        ),
    ],
)
def test_what_is_no_text(raw: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(raw)
    with pytest.raises(InputError) as error:
        read_text(file)
    assert str(error.value) == message.format(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^there is no file .*missing$"):
        read_text(tmp_path / "missing")
    with pytest.raises(InputError, match=f"^cannot read {tmp_path}: Is a directory$"):
        read_text(tmp_path)


@given(st.text(min_size=1))
def test_encoding_can_be_undone(text: str) -> None:
    alphabet = alphabet_of(text)
    assert "".join(alphabet[index] for index in encode(text, alphabet)) == text
    assert list(alphabet) == sorted(set(text))


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 500))
def test_each_stream_and_the_held_out_part_fill_a_window(batch: int, unroll: int, more: int) -> None:
    least = shortest(batch, unroll)
    characters = np.arange(least + more, dtype=np.int32)
    streams, held_out = split(characters, batch, unroll)
    assert streams.shape[1] == batch
    assert held_out.shape[1] == 1
    assert list(windows(streams, unroll))
    assert list(windows(held_out, unroll))
    # Every character is in one place at most, and streams are runs of the text.
    assert (np.diff(streams, axis=0) == 1).all()
    assert (np.diff(held_out, axis=0) == 1).all()
    assert np.unique(streams).size == streams.size
    assert streams.max() < held_out.min()


def shortest(batch: int, unroll: int) -> int:
    """The shortest text that is accepted, read from the message."""
    with pytest.raises(InputError) as error:
        split(np.zeros(0, np.int32), batch, unroll)
    return int(str(error.value).split("at least ")[1].split()[0])


def test_too_short() -> None:
    with pytest.raises(InputError) as error:
        split(np.zeros(1733, np.int32), 32, 50)
    assert str(error.value) == (
        "the text is too short: 1733 characters, expected at least 1734 for --batch 32 --unroll 50; "
        "give a longer text or smaller numbers"
    )
    split(np.zeros(1734, np.int32), 32, 50)


def test_windows() -> None:
    streams = np.arange(10).reshape(10, 1) + np.array([[0, 100]])  # two streams of ten
    inputs, targets = zip(*windows(streams, 4), strict=True)
    np.testing.assert_array_equal(np.concatenate(inputs)[:, 1], 100 + np.arange(8))
    np.testing.assert_array_equal(np.concatenate(targets)[:, 0], 1 + np.arange(8))
