"""`index_codes`: an index in memory of the codes in a lake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from waterfill import _core
from waterfill._util.optional import require
from waterfill._util.validation import Metric
from waterfill.building.id_columns import plain_ids
from waterfill.codec import Codec
from waterfill.columns.codec_files import find_codec
from waterfill.columns.codes_type import CodesType, pa
from waterfill.data.arrow_codes import EXTENSION, read_codes, require_codes_of
from waterfill.index.flat import IndexFlat
from waterfill.index.ivf import IndexIVF

_BATCH_ROWS = 1 << 16


def index_codes(
    source: Any,
    codec: Codec | None = None,
    *,
    column: str | None = None,
    ids: str | None = None,
    metric: Metric | int = "ip",
    nprobe: int | None = None,
    target_recall: float | None = None,
) -> IndexFlat | IndexIVF:
    """Make an index of a column of codes: nothing is encoded, only codes and ids are read.

    Parameters
    ----------
    source : object
        A Parquet file, a folder of them, or a list of files, on any file system that pyarrow
        knows (``"s3://bucket/lake"``); a ``pyarrow.dataset.Dataset``; a table.
    codec : Codec, optional
        That of the codes. By default the one that `keep_codec` has put into the folder.
    column : str, optional
        With the codes, if there are several such columns.
    ids : str, optional
        Column of the ids; by default they are positions.
    metric : {'ip', 'l2', 'cosine'} or int
        As for `IndexFlat`.
    nprobe : int, optional
        As for `IndexIVF`, which the result is if one of these two is given: the codec has cells.
    target_recall : float, optional
        Instead of `nprobe`: as for `IndexIVF`.

    Returns
    -------
    IndexFlat or IndexIVF
        With the codes in the order of the source.

    Raises
    ------
    ValueError
        If codes are of another codec, if codes or ids are null, or if there is no such column.
    TypeError
        If the column has no codes, or ids are no integers.
    FormatError
        If a file is damaged.
    FileNotFoundError
        If there are no such files, or no codec is given and the folder has none.
    OSError
        If a file cannot be read, or a page has another checksum than it says.
    """
    with _reading():
        dataset = _opened(source)
        name = _column(dataset.schema, column)
        if codec is None:
            codec = find_codec(dataset.schema.field(name).type, _folder(source))
        _require_codes(dataset, name, codec)
        index = _empty(codec, metric, nprobe, target_recall)
        numbers = None if ids is None else _ids(dataset, ids)
        for batch in dataset.to_batches(columns=[name], batch_size=_BATCH_ROWS):
            first, n = index.ntotal, len(batch)
            codes = read_codes(batch.column(0), codec, name=f"column {name}", first=first)
            index.add_sa_codes(codes, None if numbers is None else numbers[first : first + n])
    return index


@contextmanager
def _reading() -> Iterator[None]:
    """Turn pyarrow's exceptions into a FormatError of one line."""
    try:
        yield
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise _core.FormatError(f"source: not Parquet, or damaged: {reason}") from None


def _require_codes(dataset: Any, column: str, codec: Codec) -> None:
    """Raise an error unless each file has codes of this codec. A scan would fill in nulls."""
    for fragment in dataset.get_fragments():
        schema = fragment.physical_schema
        name = getattr(fragment, "path", None) or f"column {column}"
        if schema.get_field_index(column) < 0:
            raise ValueError(f"{name}: no column {column!r}, which other files have")
        require_codes_of(schema.field(column).type, codec, name)


def _empty(
    codec: Codec, metric: Metric | int, nprobe: int | None, target_recall: float | None
) -> IndexFlat | IndexIVF:
    if nprobe is None and target_recall is None:
        return IndexFlat(codec, metric)
    if target_recall is not None:
        if nprobe is not None:
            raise ValueError("nprobe and target_recall: expected one of them")
        return IndexIVF(codec, codec.cells, metric=metric, target_recall=target_recall)
    index = IndexIVF(codec, codec.cells, metric=metric)
    if nprobe is not None:
        index.nprobe = nprobe
    return index


def _opened(source: Any) -> Any:
    datasets = require("pyarrow.dataset", "waterfill.columns", "parquet")
    if isinstance(source, datasets.Dataset):
        return source
    if isinstance(source, pa.Table | pa.RecordBatch):
        return datasets.dataset(source)
    many = isinstance(source, list | tuple)
    names = [os.fsdecode(each) for each in (source if many else [source])]
    options = datasets.ParquetFragmentScanOptions(page_checksum_verification=True)
    parquet = datasets.ParquetFileFormat(default_fragment_scan_options=options)
    return datasets.dataset(names if many else names[0], format=parquet)


def _column(schema: Any, column: str | None) -> str:
    """Return the name of the column of codes."""
    available = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    found = [
        field.name
        for field in schema
        if (field.name == column if column else _has_codes(field.type))
    ]
    if len(found) != 1:
        expected = f"column {column!r}" if column else f"one column of {EXTENSION}"
        raise ValueError(
            f"source: expected {expected}, got {len(found)}; choose it by column=; "
            f"available: {available}"
        )
    return str(found[0])


def _has_codes(kind: Any) -> bool:
    return isinstance(kind, CodesType)


def _ids(dataset: Any, column: str) -> Any:
    if dataset.schema.get_field_index(column) < 0:
        raise ValueError(f"source: no column {column!r} for ids")
    values = dataset.to_table(columns=[column]).column(0).combine_chunks()
    return plain_ids(values, f"column {column}").read(0, len(values))


def _folder(source: Any) -> str:
    """Return the folder of a source on a file system."""
    if isinstance(source, list | tuple) and source:
        source = source[0]
    if not isinstance(source, str | os.PathLike):
        raise ValueError("codec is needed: only a path has a folder in which to look for it")
    name = os.fsdecode(source)
    return os.path.dirname(name) if name.endswith((".parquet", ".pq")) else name
