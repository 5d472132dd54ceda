"""The command ``waterfill info``: what a codec file or an index file holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

import waterfill as wf
from waterfill.cli.description import (
    codec_lines,
    describe_codec,
    describe_folder,
    describe_index,
    file_line,
    folder_lines,
    index_lines,
)
from waterfill.cli.folders import bytes_on_disk, read_any_index
from waterfill.cli.output import Output, pairs, size
from waterfill.folder import FolderIndex
from waterfill.io import file_kind

_FOLDER = "folder"


def info(
    out: Output,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A codec, an index, or a folder with an index.")
    ],
) -> None:
    """Describe a codec or an index: its size, settings and training.

    Example:
      waterfill info base.wf
      waterfill info corpus.wfx
      waterfill info codec.wf --json
    """
    kind = _FOLDER if file.is_dir() else file_kind(file)
    if kind is None:
        raise wf.FormatError(
            f"{file}: expected a waterfill codec or index (waterfill analyze describes vectors)"
        )
    index = None if kind == "codec" else read_any_index(file)
    graph = isinstance(index, wf.IndexHNSW)
    codec = None if graph else wf.read_codec(file) if index is None else index.codec
    file_bytes = bytes_on_disk(file)
    document: dict[str, Any] = {"file": str(file), "kind": kind, "file_bytes": file_bytes}
    values = {"file": f"{size(file_bytes)}, {kind}"}
    if index is not None:
        document["index"] = describe_index(index, file_bytes)
        values = {"kind": kind, "file": file_line(file_bytes, index), **index_lines(index)}
    if isinstance(index, FolderIndex):
        document["folder"] = describe_folder(index)
        values |= folder_lines(index)
    if codec is not None:
        document["codec"] = describe_codec(codec)
        values |= codec_lines(codec)
    tables: list[Table | str] = [pairs(str(file), values)]
    if codec is not None and codec.manifest is not None:
        document["manifest"] = asdict(codec.manifest)
        tables.append(pairs("\nManifest", codec.manifest.words()))
    out.show(document, *tables)
