"""What FAISS's functions do with a waterfill index, and what they pass on.

Each function gets FAISS's own as its first argument, and calls it if no waterfill index is
concerned. ``waterfill.faiss.registration`` puts them in place.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from waterfill import io
from waterfill._util.optional import loaded_faiss
from waterfill.faiss.factory import index_factory as own_factory
from waterfill.index.base import Index
from waterfill.index.coarse_quantizer import CoarseQuantizer
from waterfill.index.flat import IndexFlat
from waterfill.index.hnsw import IndexHNSW
from waterfill.index.ivf import IndexIVF
from waterfill.index.vector_index import VectorIndex
from waterfill.index.views import IdMap

Original = Callable[..., Any]

OWN = (VectorIndex, CoarseQuantizer)
_CHUNK_BYTES = 1 << 20
_CONSUMED = ("PyCallbackIOReader", "BufferedIOReader", "VectorIOReader")  # cannot be read twice
_OWN_STRING = re.compile(r"(^|,)WF(HNSW)?\d+(,|$)")


def write_index(original: Original, index: Any, f: Any, io_flags: int = 0) -> None:
    """Write an index in waterfill's format, to a path or a faiss.IOWriter."""
    if not isinstance(index, IndexFlat | IndexIVF | IndexHNSW):
        original(index, f, *([io_flags] if io_flags else []))
        return
    _require_whole(index, "faiss.write_index", io_flags)
    if isinstance(f, str | bytes | os.PathLike):
        io.write_index(index, os.fsdecode(f))
    elif hasattr(f, "write_bytes"):
        f.write_bytes(index._to_bytes().tobytes())
    else:
        raise TypeError(f"f must be a path or a faiss.IOWriter, got {type(f).__name__}")


def read_index(original: Original, f: Any, *args: Any, **kwargs: Any) -> Any:
    """Read an index of either library from a path or a faiss.IOReader."""
    if isinstance(f, str | bytes | os.PathLike):
        if _is_own_file(os.fsdecode(f)):
            return io.read_index(os.fsdecode(f))
        return original(os.fsdecode(f), *args, **kwargs)
    name = getattr(f, "name", "")
    if type(f).__name__ not in _CONSUMED:
        own = bool(name) and _is_own_file(name)
        return io.read_index(name) if own else original(f, *args, **kwargs)
    head = f.read_bytes(len(io.MAGIC))
    if head == io.MAGIC:
        return io.from_bytes(head + b"".join(iter(lambda: f.read_bytes(_CHUNK_BYTES), b"")))
    return original(_with_head(head, f), *args, **kwargs)


def _with_head(head: bytes, reader: Any) -> Any:
    """Return a reader of bytes that were read already, and of those that follow."""
    rest = [head]

    def read(size: int) -> bytes:
        start = rest[0][:size]
        rest[0] = rest[0][size:]
        return start or reader.read_bytes(size)  # FAISS asks again for what is missing

    made = loaded_faiss().PyCallbackIOReader(read)
    made.referenced_objects = [reader]
    return made


def serialize_index(original: Original, index: Any, io_flags: int = 0) -> NDArray[np.uint8]:
    """Return an index as an array of bytes."""
    if not isinstance(index, VectorIndex):
        data: NDArray[np.uint8] = original(index, *([io_flags] if io_flags else []))
        return data
    _require_whole(index, "faiss.serialize_index", io_flags)
    return index._to_bytes()


def deserialize_index(original: Original, data: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the index of an array of bytes."""
    head = bytes(np.asarray(data).reshape(-1)[: len(io.MAGIC)].tobytes())
    if head != io.MAGIC:
        return original(data, *args, **kwargs)
    return io.from_bytes(np.ascontiguousarray(data, dtype=np.uint8).reshape(-1))


def clone_index(original: Original, index: Any) -> Any:
    """Return a copy of an index."""
    return copy.deepcopy(index) if isinstance(index, OWN) else original(index)


def downcast_index(original: Original, index: Any) -> Any:
    """Return an index with its own class: a waterfill index has it already."""
    return index if isinstance(index, OWN) else original(index)


def extract_index_ivf(original: Original, index: Any) -> Any:
    """Return the part of an index that has inverted lists: an IndexIVF itself."""
    if not isinstance(index, VectorIndex):
        return original(index)
    if isinstance(index, IndexIVF):
        return index
    got = "IndexHNSW" if isinstance(index, IndexHNSW) else "IndexFlat, which searches all vectors"
    raise RuntimeError(
        f"faiss.extract_index_ivf: expected an index with inverted lists, got a waterfill {got}"
    )


def try_extract_index_ivf(original: Original, index: Any) -> Any:
    """Return an IndexIVF itself, and None for an IndexFlat or IndexHNSW."""
    if not isinstance(index, VectorIndex):
        return original(index)
    return index if isinstance(index, IndexIVF) else None


def merge_into(original: Original, index0: Any, index1: Any, shift_ids: bool) -> None:
    """Move all vectors of `index1` to `index0`, as `merge_from`."""
    if not isinstance(index0, Index) and not isinstance(index1, Index):
        original(index0, index1, shift_ids)
        return
    _require_both("faiss.merge_into", index0, index1)
    index0.merge_from(index1, index0.ntotal if shift_ids else 0)


def check_compatible_for_merge(original: Original, index1: Any, index2: Any) -> None:
    """Raise an error if `index2` cannot be merged into `index1`."""
    if not isinstance(index1, Index) and not isinstance(index2, Index):
        original(index1, index2)
        return
    _require_both("faiss.check_compatible_for_merge", index1, index2)
    index1.check_compatible_for_merge(index2)


def search_with_parameters(
    original: Original, index: Any, x: Any, k: int, params: Any = None, output_stats: bool = False
) -> Any:
    """Search with parameters; without statistics, which a waterfill index does not count."""
    if not isinstance(index, VectorIndex):
        return original(index, x, k, params, output_stats)
    _require_no_statistics(output_stats)
    return index.search(x, k, params=params)


def range_search_with_parameters(
    original: Original,
    index: Any,
    x: Any,
    radius: float,
    params: Any = None,
    output_stats: bool = False,
) -> Any:
    """Search a radius with parameters; without statistics."""
    if not isinstance(index, VectorIndex):
        return original(index, x, radius, params, output_stats)
    _require_no_statistics(output_stats)
    return index.range_search(x, radius, params=params)


def index_factory(original: Original, d: int, description: Any, *args: Any, **kwargs: Any) -> Any:
    """Create an index from a string: waterfill's if it has a part such as ``WF48``."""
    if isinstance(description, str) and _OWN_STRING.search(description):
        return own_factory(d, description, *args, **kwargs)
    return original(d, description, *args, **kwargs)


def vector_to_array(original: Original, v: Any) -> Any:
    """Return a vector of C++, or the ids of a waterfill index, as an array."""
    return np.array(v) if isinstance(v, IdMap) else original(v)


def get_distance_computer(original: Original, index: Any, *args: Any) -> Any:
    """Return an object that computes distances between a query and stored vectors."""
    if not isinstance(index, Index):
        return original(index, *args)
    return index.get_distance_computer()


BY_NAME: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        check_compatible_for_merge,
        clone_index,
        deserialize_index,
        downcast_index,
        extract_index_ivf,
        get_distance_computer,
        index_factory,
        merge_into,
        range_search_with_parameters,
        read_index,
        search_with_parameters,
        serialize_index,
        try_extract_index_ivf,
        vector_to_array,
        write_index,
    )
}
"""Functions by FAISS's name for them."""


def extend_translated_selector(faiss: Any) -> None:
    """Make ``faiss.IDSelectorTranslated(index, sel)`` take a waterfill index.

    FAISS's selects positions by the ids that an IDMap has for them. A waterfill index selects by
    ids, so there it stands for `sel`.
    """
    original = faiss.IDSelectorTranslated.__init__

    def init(self: Any, *args: Any) -> None:
        if len(args) == 2 and isinstance(args[0], VectorIndex):
            index, sel = args
            held = faiss.Int64Vector()
            faiss.copy_array_to_vector(index.ids(), held)
            original(self, held, sel)
            self.waterfill_sel = sel
            return
        original(self, *args)

    faiss.IDSelectorTranslated.__init__ = init


def _is_own_file(path: str) -> bool:
    """Return whether a file holds a waterfill index; False if it cannot be read."""
    return os.path.isfile(path) and io.file_kind(path) not in (None, "codec")


def _require_whole(index: VectorIndex[Any], what: str, io_flags: int) -> None:
    """Refuse to write less than the index."""
    if io_flags:
        raise ValueError(f"{what}: io_flags={io_flags} is not supported for a waterfill index")
    if isinstance(index, Index) and isinstance(index.refine, np.ndarray):
        raise ValueError(
            f"{what}: the index re-ranks with an array of yours, which a file does not hold and "
            "faiss.read_index could not get back. Call waterfill.write_index(index, path) and "
            "waterfill.read_index(path, refine=array), or keep rows in the index with "
            "refine='float16'"
        )


def _require_both(what: str, first: Any, second: Any) -> None:
    for other in (first, second):
        if not isinstance(other, Index):
            raise TypeError(
                f"{what}: expected two waterfill indexes, got one and a {type(other).__name__}; "
                "waterfill.compress(index) converts an index of FAISS"
            )


def _require_no_statistics(output_stats: bool) -> None:
    if output_stats:
        raise ValueError(
            "output_stats=True is not supported for a waterfill index, which counts no statistics"
        )
