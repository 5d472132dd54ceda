"""Files of vectors as other code writes them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

Writer = Callable[[Path, np.ndarray], None]


def write_vecs(path: Path, x: np.ndarray) -> None:
    path.write_bytes(b"".join(struct.pack("<i", x.shape[1]) + row.tobytes() for row in x))


def write_bin(path: Path, x: np.ndarray) -> None:
    path.write_bytes(struct.pack("<II", *x.shape) + x.tobytes())


def write_hdf5(path: Path, x: np.ndarray, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("neighbors", data=np.zeros((3, 2), dtype="i4"))
        file.create_dataset("test", data=x[:1] + 1 if len(x) else x)
        file.create_dataset("train", data=x, **options)


def fixed(x: np.ndarray) -> pa.Table:
    values = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
    return pa.table({"id": np.arange(len(x)), "embedding": values})


def lists(x: np.ndarray) -> pa.Table:
    kind = pa.list_(pa.from_numpy_dtype(x.dtype))
    return pa.table({"id": np.arange(len(x)), "embedding": pa.array(list(x), type=kind)})


def write_stream(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


FLOATS, BYTES, SIGNED, INTS = ["f4"], ["u1"], ["i1"], ["i4"]
FORMATS: dict[str, tuple[str, list[str], Writer]] = {
    "npy": ("x.npy", ["f2", "f4", "f8", "i1", "u1"], np.save),
    "npy, Fortran": ("x.npy", ["f4"], lambda p, x: np.save(p, np.asfortranarray(x))),
    "npz": ("x.npz", ["f2", "f4"], lambda p, x: np.savez(p, ids=np.arange(len(x)), vectors=x)),
    "npz, compressed": ("x.npz", FLOATS, lambda p, x: np.savez_compressed(p, vectors=x)),
    "fvecs": ("x.fvecs", FLOATS, write_vecs),
    "bvecs": ("x.BVECS", BYTES, write_vecs),
    "ivecs": ("x.ivecs", INTS, write_vecs),
    "fbin": ("x.fbin", FLOATS, write_bin),
    "u8bin": ("x.u8bin", BYTES, write_bin),
    "i8bin": ("x.i8bin", SIGNED, write_bin),
    "hdf5": ("x.hdf5", ["f2", "f4", "f8", "u1"], write_hdf5),
    "hdf5, chunked": (
        "x.h5",
        FLOATS,
        lambda p, x: write_hdf5(p, x, chunks=(len(x) // 2 + 1, 1), compression="gzip"),
    ),
    "parquet": ("x.parquet", ["f2", "f4", "f8"], lambda p, x: pq.write_table(fixed(x), p)),
    "parquet, row groups": (
        "x.parquet",
        FLOATS,
        lambda p, x: pq.write_table(lists(x), p, row_group_size=7),
    ),
    "arrow": ("x.arrow", FLOATS, lambda p, x: feather.write_feather(fixed(x), p, "uncompressed")),
    "feather": (
        "x.feather",
        ["f4", "f8"],
        lambda p, x: feather.write_feather(lists(x), str(p), "lz4", chunksize=7),
    ),
    "arrow, stream": ("x.arrow", FLOATS, lambda p, x: write_stream(p, fixed(x))),
}


def numbers(n: int, d: int, dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal((n, d)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (n, d), dtype=dtype, endpoint=True)
