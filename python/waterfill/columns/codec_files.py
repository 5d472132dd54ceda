"""Codecs beside the columns that they made, found by fingerprint."""

from __future__ import annotations

import os
from typing import Any

from waterfill import _core
from waterfill._util.optional import require
from waterfill.codec import Codec
from waterfill.columns.codes_type import CodesType
from waterfill.io import Path, write_codec


def keep_codec(codec: Codec, folder: Path) -> str:
    """Write a codec into a folder of tables, which are read without it.

    The name starts with ``_``, so that programs that read all files of a folder leave it out, and
    holds the fingerprint. A codec that is there already is written again, with the same bytes.

    Parameters
    ----------
    codec : Codec
        The codec of the tables' codes.
    folder : str or path-like
        Also one of another file system that pyarrow knows, such as ``"s3://bucket/lake"``.

    Returns
    -------
    str
        The file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    system, path = _located(folder)
    name = _name(path, CodesType.of(codec).fingerprint)
    system.create_dir(path, recursive=True)
    if system.type_name == "local":
        write_codec(codec, name)  # completely, or not at all
    else:
        with system.open_output_stream(name) as file:
            file.write(codec.to_bytes())
    return name


def find_codec(kind: CodesType | str, folder: Path) -> Codec:
    """Read the codec of a column from the folder in which `keep_codec` has put it.

    Parameters
    ----------
    kind : CodesType or str
        The column's type, such as ``table["code"].type``, or a fingerprint.
    folder : str or path-like
        As for `keep_codec`.

    Returns
    -------
    Codec
        The codec with this fingerprint.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    FormatError
        If the file is damaged, or holds another codec.
    TypeError
        If `kind` is neither a type of codes nor a fingerprint.
    """
    fingerprint = kind if isinstance(kind, str) else getattr(kind, "fingerprint", None)
    if not isinstance(fingerprint, str):
        raise TypeError(f"kind must be a CodesType or a fingerprint, got {kind}")
    system, path = _located(folder)
    name = _name(path, fingerprint)
    try:
        with system.open_input_file(name) as file:
            codec = Codec.from_bytes(file.read())
    except FileNotFoundError:
        raise FileNotFoundError(
            2, f"codec {fingerprint[:16]} is not here; keep_codec(codec, folder) writes it", name
        ) from None
    if codec.fingerprint != fingerprint:
        raise _core.FormatError(f"{name}: expected codec {fingerprint}, got {codec.fingerprint}")
    return codec


def _name(path: str, fingerprint: str) -> str:
    return f"{path}/_codec-{fingerprint[:16]}.wf"


def _located(folder: Path) -> tuple[Any, str]:
    """Return pyarrow's file system of a folder, and the folder's path there."""
    fs = require("pyarrow.fs", "waterfill.columns", "parquet")
    name = os.fsdecode(folder)
    if "://" in name:
        system, path = fs.FileSystem.from_uri(name)
    else:
        system, path = fs.LocalFileSystem(), os.path.abspath(name)
    return system, path.rstrip("/")
