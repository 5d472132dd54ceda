"""The indexes that a GPU searches."""

from __future__ import annotations

from typing import Any, TypeVar

from waterfill._util.validation import Metric
from waterfill.codec import Codec
from waterfill.gpu.on_device import OnDevice
from waterfill.index import flat, ivf
from waterfill.index.base import Index
from waterfill.index.list_recall import DEFAULT_TARGET_RECALL
from waterfill.plan import Plan
from waterfill.recipe import Recipe

_Kind = TypeVar("_Kind", bound=Index)


class IndexFlat(OnDevice, flat.IndexFlat):
    """A `waterfill.IndexFlat` that a GPU fills and searches, with the same codes and results.

    The vectors stay in host memory, where all changes are made. The first search after a change
    copies the codes to the GPU. What does not fit there is copied piece by piece in each search.

    Parameters
    ----------
    codec : Codec, Plan or Recipe
        As for `waterfill.IndexFlat`.
    metric : {'ip', 'l2', 'cosine'} or int
        As for `waterfill.IndexFlat`.
    refine : {'float16', 'int8', 'float32'} or array, shape (m, d), optional
        As for `waterfill.IndexFlat`; the rows stay in host memory.
    k_factor : float
        As for `waterfill.IndexFlat`.
    device : int
        Number of the GPU, as CUDA counts those that the process sees.
    memory : int, optional
        Bytes that the codes may take on the GPU; by default four fifths of what is free at the
        first search.

    Raises
    ------
    ImportError
        Without cuda-core: ``pip install ".[cuda]"``.
    RuntimeError
        Without a driver or a GPU.
    ValueError, TypeError
        For another `device`, or as `waterfill.IndexFlat`.

    Notes
    -----
    Searches raise a MemoryError if the GPU has too little memory for them; the index stays as it
    is. `search_and_reconstruct`, and `range_search` with `refine`, run on the CPU.
    """

    def __init__(
        self,
        codec: Codec | Plan | Recipe,
        metric: Metric | int = "ip",
        *,
        refine: Any = None,
        k_factor: float = 4.0,
        device: int = 0,
        memory: int | None = None,
    ) -> None:
        self._use_device(device, memory)
        super().__init__(codec, metric, refine=refine, k_factor=k_factor)

    def to_cpu(self) -> flat.IndexFlat:
        """Return an index on the CPU that has its vectors in common with this one."""
        return _without_device(self, flat.IndexFlat)


class IndexIVF(OnDevice, ivf.IndexIVF):
    """A `waterfill.IndexIVF` that a GPU fills and searches, with the same codes and results.

    The CPU chooses the lists of a query, and the GPU scans them.

    Parameters
    ----------
    codec : Plan, Recipe or Codec
        As for `waterfill.IndexIVF`.
    nlist : int
        Number of lists.
    quantizer : faiss.Index, optional
        As for `waterfill.IndexIVF`; with one, vectors are encoded on the CPU.
    metric : {'ip', 'l2', 'cosine'} or int
        As for `waterfill.IndexIVF`.
    refine : {'float16', 'int8', 'float32'} or array, shape (m, d), optional
        As for `waterfill.IndexIVF`; the rows stay in host memory.
    k_factor : float
        As for `waterfill.IndexIVF`.
    target_recall : float
        As for `waterfill.IndexIVF`.
    device : int
        Number of the GPU, as CUDA counts those that the process sees.
    memory : int, optional
        Bytes that the codes may take on the GPU; by default four fifths of what is free at the
        first search.

    Raises
    ------
    ImportError, RuntimeError, ValueError, TypeError
        As `IndexFlat` and `waterfill.IndexIVF`.
    """

    def __init__(
        self,
        codec: Codec | Plan | Recipe,
        nlist: int,
        quantizer: Any = None,
        *,
        metric: Metric | int = "ip",
        refine: Any = None,
        k_factor: float = 4.0,
        target_recall: float = DEFAULT_TARGET_RECALL,
        device: int = 0,
        memory: int | None = None,
    ) -> None:
        self._use_device(device, memory)
        super().__init__(
            codec,
            nlist,
            quantizer,
            metric=metric,
            refine=refine,
            k_factor=k_factor,
            target_recall=target_recall,
        )

    def to_cpu(self) -> ivf.IndexIVF:
        """Return an index on the CPU that has its vectors in common with this one."""
        return _without_device(self, ivf.IndexIVF)


def on_gpu(index: Index, device: int, memory: int | None) -> OnDevice:
    """Return an index on a GPU that has its vectors in common with one on the CPU.

    TypeError for indexes in folders, which replace what they search.
    """
    kinds: dict[type[Index], type[OnDevice]] = {
        flat.IndexFlat: IndexFlat,
        ivf.IndexIVF: IndexIVF,
        IndexFlat: IndexFlat,  # on another GPU
        IndexIVF: IndexIVF,
    }
    kind = kinds.get(type(index))
    if kind is None:
        raise TypeError(
            f"to_gpu: expected a waterfill.IndexFlat or IndexIVF, got {type(index).__name__}; fill "
            "one: index.add_sa_codes(other.codes(), other.ids())"
        )
    return kind._from_cpu(index, device, memory)


def _without_device(index: OnDevice, kind: type[_Kind]) -> _Kind:
    index._trained()
    own = kind.__new__(kind)
    of_the_device = vars(OnDevice).keys()
    kept = {name: value for name, value in index.__dict__.items() if name not in of_the_device}
    own.__dict__.update(kept, _given=dict(index._given))
    return own
