"""What a build reads: an ordered list of parts, made from paths, datasets, or arrays."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill.building.arrow_datasets import dataset_parts, is_dataset, is_hub_dataset, table_part
from waterfill.building.id_columns import array_ids
from waterfill.building.parts import Part, array_part, file_part
from waterfill.building.streams import RemoteStream, Stream, as_stream
from waterfill.data.vector_files import FORMATS

_MAGIC = "*?["


@dataclass(frozen=True)
class Source:
    """The parts of a source, in order. A vector's position in it never changes.

    Attributes
    ----------
    name : str
        For messages.
    parts : list of Part
    firsts : int64 (parts + 1,)
        Position of the first vector of each part, and the number of vectors.
    skipped : list of str
        Names of files without rows.
    """

    name: str
    parts: list[Part]
    skipped: list[str]

    def __post_init__(self) -> None:
        widths: dict[int, str] = {}
        for part in self.parts:
            widths.setdefault(part.d, part.name)
        if len(widths) > 1:
            (d, name), (other, other_name) = list(widths.items())[:2]
            raise ValueError(
                f"{other_name} has {other} dimensions, but {name} has {d}; vectors that are built "
                "together must agree"
            )
        if not self.parts:
            raise ValueError(f"{self.name}: expected at least 1 row, got 0")

    @property
    def firsts(self) -> NDArray[np.int64]:
        """Position of the first vector of each part, and the number of vectors."""
        return np.cumsum([0, *(part.n for part in self.parts)])

    @property
    def n(self) -> int:
        """Number of vectors."""
        return sum(part.n for part in self.parts)

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return self.parts[0].d

    @property
    def identity(self) -> list[Any]:
        """What changes if the vectors do, for JSON."""
        return [[*part.identity_now(), part.n] for part in self.parts]


def open_source(x: Any, key: str | None, format: str | None) -> Source | Stream:
    """Find the parts of a source: footers and headers are read, vectors are not.

    Parameters
    ----------
    x : object
        See `waterfill.build`.
    key, format
        As for `waterfill.open_vectors`.
    """
    if isinstance(x, Source | RemoteStream):
        return x
    if isinstance(x, str | os.PathLike):
        return _of_paths([x], key, format)
    if _is_list(x) and len(x) and all(isinstance(each, str | os.PathLike) for each in x):
        return _of_paths(x, key, format)
    if format is not None:
        raise ValueError(f"format={format!r}: only files have a format; leave it out")
    if is_dataset(x):
        return _of_parts("the dataset", dataset_parts(x, key))
    if is_hub_dataset(x):
        return _of_hub_dataset(x, key)
    stream = as_stream(x, key)
    if stream is not None:
        return stream
    if _is_list(x) and len(x) and _is_batch(x[0]):
        parts = [_in_memory(each, key, f"source[{i}]") for i, each in enumerate(x)]
        return _of_parts("source", parts)
    return _of_parts("source", [_in_memory(x, key, "source")])


def _of_parts(name: str, parts: Sequence[Part | None]) -> Source:
    found = [part for part in parts if part is not None]
    return Source(found[0].name if len(found) == 1 else name, found, [])


def _is_list(x: Any) -> bool:
    return isinstance(x, list | tuple)


def _is_batch(x: Any) -> bool:
    return len(getattr(x, "shape", ())) == 2 or hasattr(x, "num_columns")


def _in_memory(x: Any, key: str | None, name: str) -> Part | None:
    if hasattr(x, "num_columns") and hasattr(x, "schema"):
        return table_part(x, key, name)
    if key is not None:
        if not hasattr(x, "iloc"):
            raise ValueError(f"key={key!r}: {name} is a {type(x).__name__} without columns")
        return array_part(x[key], name, lambda column: array_ids(x, column, name))
    return array_part(x, name)


def _of_paths(paths: Sequence[Any], key: str | None, format: str | None) -> Source:
    names = [name for path in paths for name in _expanded(os.fspath(path), format)]
    parts, skipped = [], []
    for name in names:
        part = file_part(name, key, format)
        if part is None:
            skipped.append(name)
        else:
            parts.append(part)
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return Source(name, parts, skipped)


def _expanded(path: str, format: str | None) -> list[str]:
    """Return the files of a path: of a folder or a pattern, sorted by name."""
    if os.path.isdir(path):
        found = [
            str(file)
            for file in sorted(Path(path).rglob("*"))
            if file.is_file() and _is_vector_file(file.relative_to(path), format)
        ]
        if not found:
            raise ValueError(f"{path}: no files of vectors in this folder; expected {_expected()}")
        return found
    if any(sign in path for sign in _MAGIC) and not os.path.lexists(path):
        found = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
        if not found:
            raise FileNotFoundError(2, "no file has a name like this", path)
        return found
    return [path]


def _is_vector_file(file: Path, format: str | None) -> bool:
    """Whether a file in a folder is one of vectors: by its ending, and not hidden or a marker."""
    if any(part.startswith((".", "_")) for part in file.parts):
        return False
    return format is not None or file.suffix[1:].lower() in FORMATS


def _expected() -> str:
    return ", ".join(f".{name}" for name in FORMATS)


def _of_hub_dataset(x: Any, key: str | None) -> Source:
    """Return a dataset of the library ``datasets``: its files, or its table where it has none."""
    if getattr(x, "_indices", None) is not None:
        raise ValueError(
            "source: the dataset is a selection of rows; call flatten_indices() first, which "
            "writes it to files"
        )
    files = _whole_files(x.data)
    if files:
        return _of_paths(files, key, "arrow")
    return _of_parts(
        "the dataset", [table_part(getattr(x.data, "table", x.data), key, "the dataset")]
    )


def _whole_files(data: Any) -> list[str]:
    """Return the files that a table of ``datasets`` consists of, or none if it is anything else.

    Mapped files may have been sliced, joined side by side, or had their columns renamed since:
    `cache_files` names them all the same.
    """
    rows = getattr(data, "blocks", [[data]])
    blocks = [block for row in rows for block in row]
    whole = all(len(row) == 1 for row in rows) and all(
        getattr(block, "path", None) is not None and not block.replays for block in blocks
    )
    return [block.path for block in blocks] if whole else []
