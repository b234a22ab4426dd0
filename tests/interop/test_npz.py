"""Checkpoints: every value back to the bit, nothing executed, nothing half written, every bad file one clear error."""

import collections
import contextlib
import io
import json
import math
import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphzoo as gz
from graphzoo import optim
from graphzoo.data import DataLoader
from graphzoo.errors import ArgumentError, UnsupportedError
from graphzoo.interop.npz import load, save


def assert_same(a: Any, b: Any) -> None:
    """Equal in type, structure and bits."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        assert [type(key) for key in a] == [type(key) for key in b]
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, float):
        assert struct.pack("d", a) == struct.pack("d", b)
    elif isinstance(a, complex):
        assert_same([a.real, a.imag], [b.real, b.imag])
    else:
        assert a == b


def nan_with_payload(bits: int) -> float:
    return struct.unpack(">d", bits.to_bytes(8, "big"))[0]  # type: ignore[no-any-return]


ARRAYS = hnp.arrays(
    st.one_of(
        hnp.floating_dtypes(endianness="?"),
        hnp.integer_dtypes(endianness="?"),
        hnp.complex_number_dtypes(),
        hnp.boolean_dtypes(),
        hnp.unicode_string_dtypes(endianness="<", max_len=4),
        hnp.datetime64_dtypes(endianness="<"),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters()),
    ARRAYS,
    ARRAYS.filter(lambda array: array.size).map(lambda array: array.ravel()[0]),
)
KEYS = st.text(st.characters(), max_size=5) | st.integers()
TREES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)


@given(tree=TREES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_any_tree_comes_back(tree: Any, tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    save(path, tree)
    assert_same(load(path), tree)


@pytest.mark.parametrize(
    "value",
    [
        1 << 127,
        -(1 << 200),
        0.1,
        -0.0,
        5e-324,
        math.inf,
        nan_with_payload(0xFFF8_0000_0000_1234),
        complex(-0.0, math.nan),
        "Ω\n\0 '\ud800",
        np.array(3.5),
        np.array(np.nan, np.float16),
        np.float32(0.1),
        np.int8(-5),
        np.bool_(True),
        np.str_("text"),
        np.datetime64("2020-02-03"),
        np.zeros((0, 3)),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
        np.array(["", "ab"]),
        np.array([b"a", b"bc"]),
        {1: "int", "1": "text", "a/b": np.ones(1), "a": {"b": np.zeros(1)}, "..": np.ones(2), "": np.ones(3)},
        {1: np.ones(1), "1": np.zeros(1)},
        {"dict": {"tuple": ()}, "array": []},
        (1, [2, (3,)]),
        [],
        None,
    ],
    ids=repr,
)
def test_values_come_back(value: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", {"here": value})
    assert_same(load(tmp_path / "a.npz"), {"here": value})
    save(tmp_path / "b.npz", value)
    assert_same(load(tmp_path / "b.npz"), value)


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_generators_go_on(kind: str, tmp_path: Path) -> None:
    rng = np.random.Generator(getattr(np.random, kind)(5))
    rng.standard_normal(3, dtype=np.float32)
    rng.integers(10, dtype=np.int32)  # leaves half a number behind
    save(tmp_path / "rng.npz", rng.bit_generator.state)
    other = np.random.Generator(getattr(np.random, kind)())
    other.bit_generator.state = load(tmp_path / "rng.npz")
    np.testing.assert_array_equal(rng.integers(1000, size=20), other.integers(1000, size=20))


def test_strided_and_fortran_arrays_and_writing_into_what_was_loaded(tmp_path: Path) -> None:
    base = np.arange(24.0).reshape(4, 6)
    tree = {"f": np.asfortranarray(base), "strided": base[::2, ::-3], "spread": np.broadcast_to(base[0], (3, 6))}
    save(tmp_path / "a.npz", tree)
    loaded = load(tmp_path / "a.npz")
    for key, array in tree.items():
        np.testing.assert_array_equal(loaded[key], array)
        loaded[key] += 1
    assert loaded["f"].flags.f_contiguous


def test_other_mappings_become_dicts(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", collections.OrderedDict(b=1, a=collections.defaultdict(int, x=2)))
    assert_same(load(tmp_path / "a.npz"), {"b": 1, "a": {"x": 2}})


def test_a_memory_map_is_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(5.0))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    save(tmp_path / "a.npz", [mapped])
    assert_same(load(tmp_path / "a.npz"), [np.arange(5.0)])


def test_numpy_reads_the_arrays_too(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", {"model": {"0.weight": np.arange(3)}, "optim": [{"sum": np.ones(2)}]})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file.files == ["manifest.json", "model/0.weight", "optim/0/sum"]
        np.testing.assert_array_equal(file["model/0.weight"], [0, 1, 2])


def test_the_same_tree_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save(tmp_path / name, {"x": np.arange(3), "y": 2})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


# What cannot be saved ------------------------------------------------------------------------------------------------

Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"b": object()}]}, r"value at \['a'\]\[1\]\['b'\] cannot be saved"),
        (object(), "value at the top of the tree cannot be saved"),
        ({"a": {1, 2}}, r"at \['a'\] cannot be saved\n.*set"),
        ({"a": b"bytes"}, r"at \['a'\] cannot be saved\n.*bytes"),
        ({"a": Point(1, 2)}, r"plain tuple: tuple\(value\)"),
        ({"a": gz.tensor([1.0])}, r"save its values, \.numpy\(\)"),
        ({"a": gz.Parameter([1.0])}, r"save its values, \.numpy\(\)"),
        ({"o": optim.SGD([gz.Parameter([1.0])])}, r"save its state_dict\(\)"),
        ({"r": np.random.default_rng(0)}, r"save rng\.bit_generator\.state"),
        ({"a": np.array([None])}, r"array at \['a'\] cannot be saved without pickle\n.*object"),
        ({"a": np.array([(1, None)], [("i", int), ("o", object)])}, "without pickle"),
        ({"a": np.ma.array([1, 2], mask=[0, 1])}, r"at \['a'\] cannot be saved"),
        ({"a": {(1, 2): 3}}, r"key at \['a'\] cannot be saved\n.*tuple"),
        ({True: 1}, "key at the top of the tree cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_named(value: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, "before")
    with pytest.raises(TypeError, match=message) as error:
        save(path, value)
    assert isinstance(error.value, UnsupportedError)
    assert load(path) == "before"


def test_a_tree_that_contains_itself(tmp_path: Path) -> None:
    tree: list[Any] = []
    tree.append(tree)
    with pytest.raises(UnsupportedError, match="contains itself"):
        save(tmp_path / "a.npz", tree)


# Writing -------------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    save(path, "before")

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    for module, name in ((np.lib.format, "write_array"), (os, "replace"), (os, "fsync")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match="No space left"):
                save(path, np.zeros(3))
        assert load(path) == "before"
        assert os.listdir(tmp_path) == ["a.npz"]


def test_names_links_and_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save("plain", 1)  # a str, no ending: used as it is
    assert os.listdir() == ["plain"]
    assert load("plain") == 1
    Path("other").write_bytes(b"")
    assert stat.S_IMODE(os.stat("plain").st_mode) == stat.S_IMODE(os.stat("other").st_mode)
    os.symlink("plain", "link")
    save("link", 2)
    assert Path("link").is_symlink()
    assert load("plain") == 2


def test_missing_folders_and_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no/where does not exist; create it first"):
        save(tmp_path / "no" / "where" / "a.npz", 1)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "a.npz")


# Reading what is no checkpoint ---------------------------------------------------------------------------------------


def written(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def manifest(tree: Any, **changes: Any) -> bytes:
    return json.dumps({"format": "graphzoo", "version": 1, "tree": tree, **changes}).encode()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no npz file, or was damaged"),
        (b"some text", "it is no npz file, or was damaged"),
        (written({}), "not a graphzoo checkpoint\n.*with nothing"),
        (written({"x.npy": b""}), r"not a graphzoo checkpoint(.|\n)*x\.npy(.|\n)*numpy\.load"),
        (written({"manifest.json": b"{}"}), "not a graphzoo checkpoint"),
        (written({"manifest.json": b"[1]"}), "not a graphzoo checkpoint"),
        (written({"manifest.json": b"{"}), "contents do not fit together"),
        (written({"manifest.json": b"\xff"}), "contents do not fit together"),
        (written({"manifest.json": manifest(1, version=2)}), r"newer graphzoo(.|\n)*version 2(.|\n)*upgrade"),
        (written({"manifest.json": b'{"format": "graphzoo"}'}), "contents do not fit together"),
        (written({"manifest.json": manifest({"array": "x"})}), "contents do not fit together\n.*x.npy"),
        (written({"manifest.json": manifest({"module": "os"})}), "unknown kind 'module'"),
        (written({"manifest.json": manifest({})}), "contents do not fit together"),
        (written({"manifest.json": manifest({"array": "x"}), "x.npy": b"no npy"}), "contents do not fit together"),
        (written({"manifest.json": manifest({"array": "x"}), "x.npy": pickled()}), "allow_pickle=False"),
        (written({"manifest.json": b"[" * 100_000}), "contents do not fit together"),
    ],
)
def test_files_that_are_no_checkpoint(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_a_file_of_numpy(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    with pytest.raises(ArgumentError, match=r"read a plain npz with numpy\.load"):
        load(tmp_path / "a.npz")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, {"x": np.arange(4), "y": [1.5]})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ArgumentError, match="cut off"):
            load(path)


def test_no_flipped_bit_gives_other_values_or_another_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    tree = {"x": np.arange(4), "y": [1.5]}
    save(path, tree)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with contextlib.suppress(ArgumentError):
            assert_same(load(path), tree)  # some bytes, such as dates, do not matter


# The whole -----------------------------------------------------------------------------------------------------------


def test_a_training_run_resumes_to_the_bit(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((23, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32)

    def parts(rng: int) -> tuple[Any, ...]:
        generator = np.random.default_rng(rng)
        model = gz.Sequential(gz.Linear(3, 4, rng=generator), gz.Tanh(), gz.Linear(4, 1, rng=generator))
        optimizer = optim.Adam(model.parameters(), lr=0.05, weight_decay=0.01)
        return (
            model,
            optimizer,
            optim.CosineAnnealingLR(optimizer, T_max=30),
            DataLoader(x, y, batch_size=5, shuffle=True, rng=generator),
            generator,
        )

    def train(parts: tuple[Any, ...], until: int, start: int, path: Path | None = None) -> None:
        model, optimizer, schedule, loader, generator = parts
        step = start
        while step < until:
            for inputs, targets in loader:
                optimizer.zero_grad()
                noise = 0.01 * generator.standard_normal(inputs.shape).astype(np.float32)
                ((model(inputs + noise) - targets) ** 2).mean().backward()
                optim.clip_grad_norm(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                step += 1
                if step == 13 and path is not None:
                    save(path, [part.state_dict() for part in parts[:4]] + [generator.bit_generator.state])
                if step == until:
                    break

    whole = parts(1)
    train(whole, 29, 0, tmp_path / "a.npz")
    resumed = parts(2)
    *states, generator_state = load(tmp_path / "a.npz")
    for part, state in zip(resumed, states, strict=False):
        part.load_state_dict(state)
    resumed[4].bit_generator.state = generator_state
    train(resumed, 29, 13)
    for a, b in zip(whole[0].parameters(), resumed[0].parameters(), strict=True):
        assert a.data.tobytes() == b.data.tobytes()
    assert_same(whole[1].state_dict(), resumed[1].state_dict())
    assert_same(whole[3].state_dict(), resumed[3].state_dict())
