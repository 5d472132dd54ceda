"""Base of all indexes: the properties of a ``faiss.Index``, and errors for those it lacks."""

from __future__ import annotations

import difflib
import pickle
import threading
from abc import abstractmethod
from itertools import count
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.fork_safe_lock import fork_safe_lock
from waterfill._util.optional import loaded_faiss
from waterfill._util.validation import METRIC_TYPES, Metric, metric_name
from waterfill.data.row_policy import Quarantine
from waterfill.data.rows import FloatRows
from waterfill.errors import NotTrainedError
from waterfill.index.selector_graph import Step
from waterfill.index.selector_members import Universe
from waterfill.layout import VectorBytes

Labels = NDArray[np.int64]

_next_serial = count()
_serials: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # of cores


class StoredCore(Protocol):
    """What the cores of all indexes have in common."""

    @property
    def size(self) -> int:
        """Number of vectors."""
        ...

    @property
    def has_ids(self) -> bool:
        """Whether ids are explicit."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of what is stored of the vectors."""
        ...

    @property
    def version(self) -> int:
        """Rises with each change."""
        ...

    def keep_ids(self) -> None:
        """Make ids explicit."""
        ...

    def ids(self, first: int, n: int) -> Labels:
        """Return ids in order of insertion."""
        ...

    def remove(self, program: list[Step]) -> int:
        """Remove what a selector's program selects."""
        ...

    def reset(self) -> None:
        """Remove all vectors."""
        ...

    def to_bytes(self, *args: Any, **kwargs: Any) -> NDArray[np.uint8]:
        """Return the content of a file, given the settings beside the vectors."""
        ...

    def write(self, *args: Any, **kwargs: Any) -> None:
        """Write a file, given its handle, its name, and the same settings."""
        ...


Core = TypeVar("Core", bound=StoredCore)


class VectorIndex(Generic[Core]):
    """An index, which has a core once it is trained."""

    verbose = False
    metric_arg = 0.0
    _frozen = ""  # why vectors can be neither added nor removed, and what to do instead
    _instead: ClassVar[dict[str, str]] = {  # of attributes of FAISS's indexes
        "codes": "codes() returns them",
        "cp": "Recipe(d, code_bytes, effort=..., seed=...) holds the parameters of training",
        "do_polysemous_training": "there are no polysemous codes",
        "direct_map": "ids are found without a map",
        "id_map": "its ids are positions; ids() returns them",
        "index": "a waterfill index keeps ids itself, and its methods take ids",
        "invlists": "list_sizes(), codes() and ids() return the contents of the lists",
        "nlist": "it searches all vectors; waterfill.IndexIVF has lists",
        "nprobe": "it searches all vectors; waterfill.IndexIVF has lists",
        "pq": "codec holds the codebooks",
        "quantizer_trains_alone": "training fills an empty quantizer with the centroids",
        "quantizer": "it searches all vectors; waterfill.IndexIVF has lists",
        "rev_map": "ids() returns the ids",
    }

    def __init__(self, metric: Metric | int) -> None:
        self._metric = metric_name(metric)
        self._core: Core | None = None
        self._writing = write_lock(self)
        self._keeps_ids = False
        self._quarantine = Quarantine()

    def _trained(self) -> Core:
        if self._core is None:
            raise NotTrainedError(f"{type(self).__name__} is not trained: call train(x) first")
        return self._core

    # Properties.

    @property
    @abstractmethod
    def d(self) -> int:
        """Dimensions of the vectors."""

    @property
    def metric(self) -> Metric:
        """The metric: ``ip``, ``l2`` or ``cosine``."""
        return self._metric

    @property
    def metric_type(self) -> int:
        """FAISS's number of the metric: 0 for inner product and ``cosine``, 1 for L2."""
        return METRIC_TYPES[self._metric]

    @metric_type.setter
    def metric_type(self, value: int) -> None:
        metric = metric_name(value)
        if METRIC_TYPES[metric] == self.metric_type:
            return
        if self._has_metric:
            raise ValueError(
                f"metric_type={value}: the metric of a trained index is {self.metric!r}; create "
                "the index with another one"
            )
        self._metric = metric

    @property
    def _has_metric(self) -> bool:
        """Whether vectors have been, or can be, encoded for its metric."""
        return self._core is not None

    @property
    def is_trained(self) -> bool:
        """Whether the index is trained, so that vectors can be added."""
        return self._core is not None

    @property
    def ntotal(self) -> int:
        """Number of vectors."""
        return self._core.size if self._core else 0

    @property
    def has_ids(self) -> bool:
        """Whether vectors have explicit ids; otherwise ids are positions."""
        return self._core.has_ids if self._core else False

    @abstractmethod
    def _vector_bytes(self) -> VectorBytes:
        """Return the bytes of one more vector, by what they hold."""

    @property
    def nbytes(self) -> int:
        """Memory in bytes of the stored codes or rows, ids, refinement rows and links."""
        return self._core.nbytes if self._core else 0

    @property
    def quarantine(self) -> Quarantine:
        """Rows that calls with ``policy="quarantine"`` left out."""
        return self._quarantine

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True  # also if empty, as any FAISS index

    def _repr_html_(self) -> str:
        from waterfill.reporting.object_tables import index_html

        return index_html(self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse attributes that the index does not have: their value would have no effect."""
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(self._missing_attribute(name))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._missing_attribute(name))

    def _missing_attribute(self, name: str) -> str:
        """Return the message for an attribute that the index does not have."""
        public = [known for known in dir(type(self)) if not known.startswith("_")]
        near = difflib.get_close_matches(name, public, n=1)
        instead = self._instead.get(name) or (f"did you mean {near[0]!r}?" if near else "")
        message = f"{type(self).__name__} has no attribute {name!r}"
        return f"{message}; {instead}" if instead else message

    # Changes.

    @property
    def _changes(self) -> threading.RLock:
        """The lock that a change holds from its first look at the index to its end."""
        return self._writing

    @property
    def _version(self) -> tuple[int, int]:
        """What its vectors and ids are: equal only for the same core without changes between."""
        core = self._trained()  # of a folder it is replaced by one that counts from 0 again
        return _serials.setdefault(core, next(_next_serial)), core.version

    def _universe(self) -> Universe:
        core = self._trained()
        return Universe(core.size, core.ids, self._version)

    def _keep_ids(self) -> None:
        """Store explicit ids from the first vector on, like FAISS's IndexIDMap2."""
        self._keeps_ids = True
        if self._core:
            self._core.keep_ids()

    def _require_changeable(self) -> None:
        if self._frozen:
            raise ValueError(f"the index cannot be changed: {self._frozen}")

    def _prepare(self, block: FloatRows) -> FloatRows:
        return _core.normalize_rows(block) if self._metric == "cosine" else block

    # Copies and files.

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """Return the settings that are stored with the vectors, as arguments of the core."""

    def _to_bytes(self) -> NDArray[np.uint8]:
        """Return the content of its file."""
        return self._trained().to_bytes(**self._settings())

    def _pickled(self, protocol: int) -> Any:
        """Return the content of its file for a pickle."""
        stored: Any = self._to_bytes()
        # From protocol 5 on without a copy of what may be most of the memory.
        return pickle.PickleBuffer(stored) if protocol >= 5 else stored.tobytes()

    @property
    def this(self) -> Any:
        """Raise an error: FAISS's C++ looks for its own object here, and there is none.

        It is reached by functions of FAISS that `waterfill.register_faiss` does not know. SWIG
        drops the error and raises a TypeError without a reason, so a warning gives it.

        Raises
        ------
        TypeError
            Always.
        """
        from waterfill.faiss.registration import refuse_this

        raise refuse_this()


def write_lock(index: VectorIndex[Any]) -> threading.RLock:
    """Return the lock for changes; reentrant, because an export holds it while it reads codes."""
    return fork_safe_lock(index, "_writing", threading.RLock)


def register() -> None:
    """Let FAISS's functions take indexes, if FAISS is loaded."""
    if loaded_faiss() is not None:
        from waterfill.faiss.registration import register_if_loaded

        register_if_loaded()
