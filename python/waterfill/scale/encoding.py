"""Encoding of a Ray dataset by actors that hold the codec."""

from __future__ import annotations

from typing import Any

from waterfill import _core
from waterfill._util.optional import require
from waterfill._util.validation import as_positive_int
from waterfill.building.arrow_datasets import table_part
from waterfill.codec import Codec
from waterfill.scale.cluster import cpus
from waterfill.scale.dataset_rows import DatasetVectors

_BATCH_ROWS = 1 << 14


def encode(
    dataset: Any,
    codec: Codec,
    *,
    column: str | None = None,
    codes: str = "codes",
    workers: int | None = None,
    batch_size: int = _BATCH_ROWS,
) -> Any:
    """Add a column of codes to a Ray dataset.

    Parameters
    ----------
    dataset : ray.data.Dataset
        It has a column of vectors.
    codec : Codec
        The codec that encodes them.
    column : str, optional
        The column of vectors, if there are several.
    codes : str
        Name of the new column: fixed-size binary values of ``codec.code_size`` bytes.
    workers : int, optional
        Actors, each on one CPU; by default one up to as many as there are CPUs.
    batch_size : int
        Rows that are encoded at once.

    Returns
    -------
    ray.data.Dataset
        Encoded when it is read. The codes are those of ``codec.encode``, to the bit.

    Raises
    ------
    ValueError
        If there are no rows, not one column of vectors, or another number of dimensions; or, when
        it is read, if a row is null or not finite.
    TypeError
        If an argument has the wrong type.
    ImportError
        If Ray is not installed: ``pip install ".[ray]"``.
    """
    if not isinstance(codec, Codec):
        raise TypeError(f"codec must be a waterfill.Codec, got {type(codec).__name__}")
    vectors = DatasetVectors(dataset, column)
    if vectors.d != codec.d:
        raise ValueError(f"the dataset has {vectors.d} dimensions, expected {codec.d}")
    most = cpus() if workers is None else as_positive_int("workers", workers)
    data = require("ray.data", "waterfill.scale", "ray")
    return dataset.map_batches(
        _Encoder,
        fn_constructor_args=(codec, vectors.column, codes),
        batch_format="pyarrow",
        batch_size=as_positive_int("batch_size", batch_size),
        zero_copy_batch=True,
        num_cpus=1,
        compute=data.ActorPoolStrategy(min_size=1 if workers is None else most, max_size=most),
    )


class _Encoder:
    """Encodes batches in an actor."""

    def __init__(self, codec: Codec, column: str, codes: str) -> None:
        self._codec, self._column, self._codes = codec, column, codes

    def __call__(self, table: Any) -> Any:
        _core.set_own_threads(1)
        arrow = require("pyarrow", "waterfill.scale", "ray")
        part = table_part(table, self._column, "the dataset")
        size = self._codec.code_size
        data = b""
        if part is not None:
            data = self._codec.encode(part.open()).tobytes()
        column = arrow.FixedSizeBinaryArray.from_buffers(
            arrow.binary(size), len(table), [None, arrow.py_buffer(data)]
        )
        return table.append_column(self._codes, column)
