"""Checkpoints: a tree of arrays and plain values in one npz file, bit for bit, without pickle.

The file is an ordinary npz (a zip of npy files), so `numpy.load` opens the arrays too, under names like
``model/0.weight``. One more entry, ``manifest.json``, holds the tree: ``{"format": "graphzoo", "version": 1,
"tree": …}`` where null, booleans, text, integers, finite floats and lists stand for themselves and everything
else is an object with one key, the kind:

    {"dict": [[key, value], …]}     {"tuple": [value, …]}     {"float": "IEEE 754 binary64, big-endian hex"}
    {"array": "entry"}              {"scalar": "entry"}       {"complex": [real, imaginary]}
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np

from graphzoo.errors import ArgumentError, UnsupportedError, describe

_FORMAT = "graphzoo"
_VERSION = 1
_MANIFEST = "manifest.json"


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Writes a tree of arrays and plain values to a file, from which `load` gives it back exactly.

    A tree is made of dicts (with str or int keys), lists and tuples, of ndarrays of any dtype but object,
    NumPy scalars, and of Python's numbers, bools, strings and None. Modules, optimisers, schedules, loaders
    and generators hand out such trees: ``state_dict()`` and ``rng.bit_generator.state``.

    The file is written beside its final place and moved there when it is complete: a crash leaves the old
    one.

    Args:
        path: the file's name, used as it is; an existing file is replaced.
        tree: what to save.

    Raises:
        UnsupportedError: something else is in the tree; says where. Nothing is written then.
        FileNotFoundError: the folder does not exist.

    >>> import tempfile, numpy as np, graphzoo as gz, graphzoo.optim
    >>> rng = np.random.default_rng(0)
    >>> model = gz.Linear(3, 1, rng=rng)
    >>> optimizer = gz.optim.Adam(model.parameters(), lr=0.1)
    >>> def train(model, optimizer, rng, steps):
    ...     for _ in range(steps):
    ...         optimizer.zero_grad()
    ...         (model(rng.standard_normal((4, 3)).astype(np.float32)) ** 2).sum().backward()
    ...         optimizer.step()
    >>> train(model, optimizer, rng, 5)

    Save in the middle, go on, and then do the second half again from the file:

    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/checkpoint.npz"
    >>> state = {"model": model.state_dict(), "optim": optimizer.state_dict(), "rng": rng.bit_generator.state}
    >>> save(path, state)
    >>> train(model, optimizer, rng, 5)
    >>> saved = load(path)
    >>> again, rng_again = gz.Linear(3, 1), np.random.default_rng()
    >>> optimizer_again = gz.optim.Adam(again.parameters())
    >>> again.load_state_dict(saved["model"])
    >>> optimizer_again.load_state_dict(saved["optim"])
    >>> rng_again.bit_generator.state = saved["rng"]
    >>> train(again, optimizer_again, rng_again, 5)
    >>> again.weight.data.tobytes() == model.weight.data.tobytes()
    True
    >>> folder.cleanup()
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        encoded = _encoded(tree, (), arrays)
        manifest = json.dumps({"format": _FORMAT, "version": _VERSION, "tree": encoded})
    except RecursionError:
        raise UnsupportedError("the tree cannot be saved: it is nested too deeply, or contains itself") from None
    with _replacing(Path(path)) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # ZipInfo has a fixed date: the same tree makes the same file
        archive.writestr(zipfile.ZipInfo(_MANIFEST), manifest)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load(path: str | os.PathLike[str]) -> Any:
    """Reads what `save` wrote: the same tree, with the same types, dtypes and bits.

    Dicts of other classes come back as plain dicts, arrays in memory of their own. Nothing in a file is ever
    executed.

    Args:
        path: the file's name.

    Returns:
        The tree.

    Raises:
        ArgumentError: the file is no such checkpoint, is damaged or cut off, or comes from a newer graphzoo.
        FileNotFoundError: there is no such file.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/tree.npz"
    >>> save(path, {"step": 3, "sizes": (2, 1 << 100), "mean": np.float32(0.5)})
    >>> load(path)
    {'step': 3, 'sizes': (2, 1267650600228229401496703205376), 'mean': np.float32(0.5)}
    >>> folder.cleanup()
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _decoded(_manifest(archive, path)["tree"], archive)
        except ArgumentError:
            raise
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise _unreadable(path, "it is no npz file, or was damaged or cut off", error) from error
        except (LookupError, TypeError, ValueError, RuntimeError, struct.error) as error:
            raise _unreadable(path, "its contents do not fit together", error) from error


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if _MANIFEST not in archive.namelist():
        raise ArgumentError(
            f"{path} is not a graphzoo checkpoint",
            got=f"a zip file without {_MANIFEST}, with {', '.join(archive.namelist()[:5]) or 'nothing'}",
            expected="a file written by gz.save",
            todo="read a plain npz with numpy.load",
        )
    manifest = json.loads(archive.read(_MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ArgumentError(f"{path} is not a graphzoo checkpoint", expected="a file written by gz.save")
    if not isinstance(manifest["version"], int) or manifest["version"] > _VERSION:
        raise ArgumentError(
            f"{path} was written by a newer graphzoo",
            got=f"format version {manifest['version']}",
            expected=f"at most {_VERSION}",
            todo="upgrade graphzoo",
        )
    return manifest


def _unreadable(path: Path, why: str, error: Exception) -> ArgumentError:
    return ArgumentError(
        f"{path} cannot be read: {why}",
        got=f"{type(error).__name__}: {error}",
        expected="a file written by gz.save",
    )


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside `path` that takes its place when the block ends well, and is removed when not."""
    path = Path(os.path.realpath(path))  # through a link the file that it points to is replaced, not the link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


# The tree as JSON
# ----------------------------------------------------------------------------------------------------


def _encoded(value: Any, path: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if type(value) is complex:
        return {"complex": [_encoded(part, path, arrays) for part in (value.real, value.imag)]}
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in (str, int):
                raise UnsupportedError(
                    f"a key at {_readable(path)} cannot be saved",
                    got=describe(key),
                    expected="str or int keys",
                )
        return {"dict": [[key, _encoded(item, (*path, key), arrays)] for key, item in value.items()]}
    if type(value) in (list, tuple):
        items = [_encoded(item, (*path, index), arrays) for index, item in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    if type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic):
        if not _is_plain(value.dtype):
            raise UnsupportedError(
                f"the array at {_readable(path)} cannot be saved without pickle", got=f"dtype {value.dtype}"
            )
        name = _entry_name(path, arrays)
        arrays[name] = np.asarray(value)
        return {"scalar" if isinstance(value, np.generic) else "array": name}
    raise UnsupportedError(
        f"the value at {_readable(path)} cannot be saved",
        got=describe(value),
        expected="dicts, lists and tuples of arrays, numbers, strings, bools and None",
        todo=_advice(value),
    )


def _decoded(value: Any, archive: zipfile.ZipFile) -> Any:
    if isinstance(value, list):
        return [_decoded(item, archive) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: _decoded(item, archive) for key, item in content}
    if kind == "tuple":
        return tuple(_decoded(item, archive) for item in content)
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    if kind == "complex":
        return complex(*(_decoded(part, archive) for part in content))
    if kind not in ("array", "scalar"):
        raise ValueError(f"unknown kind {kind!r} in the manifest")
    entry = io.BytesIO(archive.read(f"{content}.npy"))  # in one piece: its checksum is compared before it is parsed
    array = np.lib.format.read_array(entry, allow_pickle=False)
    return array if kind == "array" else array[()]


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Whether an npy file gives back this very dtype: not for objects, nor for types that packages add."""
    return not dtype.hasobject and np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) == dtype


def _entry_name(path: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> str:
    """A readable, unused name: keys joined by slashes, anything a file name might not bear written as %XX."""
    name = "/".join(quote(str(key), safe=" ()[]+,=", errors="replace") for key in path) or "value"
    while name in arrays:  # the keys 1 and "1" of one dict
        name += "'"
    return name


def _readable(path: tuple[Any, ...]) -> str:
    return "".join(f"[{key!r}]" for key in path) or "the top of the tree"


def _advice(value: Any) -> str | None:
    if isinstance(value, np.random.Generator):
        return "save rng.bit_generator.state"
    if hasattr(value, "state_dict"):
        return "save its state_dict()"
    if hasattr(value, "detach"):
        return "save its values, .numpy()"
    if isinstance(value, tuple):
        return "make it a plain tuple: tuple(value)"
    return None
