"""`index_size`: what an index takes, as every command and page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from waterfill.folder import FolderIndex
from waterfill.index.base import Index
from waterfill.index.vector_index import VectorIndex


@dataclass(frozen=True)
class IndexSize:
    """Bytes of an index: ``file_bytes = fixed_bytes + stored * bytes_per_vector``.

    Attributes
    ----------
    vectors, stored : int
        Vectors, and those that the files hold, some of which may have been removed.
    bytes_per_vector : float
        See `waterfill.IndexFlat.bytes_per_vector`.
    parts : dict of str to float
        The same by what they hold: code, order, id, row, links; those that are not 0.
    fixed_bytes : int
        What stands beside the vectors in the file, however many they are; a folder's log as well.
    codec_bytes : int
        Those of the codec among them; 0 for a graph.
    file_bytes : int
        Size of the file or folder.
    memory_bytes : int
        Memory that the process holds for the vectors now, with room to grow.
    times_smaller : float
        Size of a float32 vector, divided by `bytes_per_vector`.
    """

    vectors: int
    stored: int
    bytes_per_vector: float
    parts: dict[str, float]
    fixed_bytes: int
    codec_bytes: int
    file_bytes: int
    memory_bytes: int
    times_smaller: float


def index_size(index: Any, file_bytes: int) -> IndexSize:
    """Return what an index takes, given the size of its file or folder.

    Parameters
    ----------
    index : IndexFlat, IndexIVF or IndexHNSW
        Trained; also in a folder.
    file_bytes : int
        Bytes on the disk.

    Returns
    -------
    IndexSize
        Bytes per vector, and those beside them.

    Raises
    ------
    TypeError
        If `index` is no index of waterfill.
    NotTrainedError
        If it is not trained.
    """
    if not isinstance(index, VectorIndex):
        raise TypeError(f"index: expected an index of waterfill, got {type(index).__name__}")
    taken = index._vector_bytes()
    stored = index.ntotal
    if isinstance(index, FolderIndex):
        stored += sum(segment["removed"] for segment in index.segments)
    codec = index.codec if isinstance(index, Index) else None
    return IndexSize(
        vectors=index.ntotal,
        stored=stored,
        bytes_per_vector=taken.total,
        parts=taken.parts,
        fixed_bytes=file_bytes - round(stored * taken.total),
        codec_bytes=0 if codec is None else len(codec.to_bytes()),
        file_bytes=file_bytes,
        memory_bytes=index.nbytes,
        times_smaller=taken.times_smaller(index.d),
    )
