"""`register_faiss`: make FAISS's functions in Python take waterfill indexes.

FAISS's functions and composites are C++, which cannot call an index written in Python, and SWIG has
no way to register another class. So the functions are replaced by ones that look at their arguments
first: those with a meaning for a waterfill index use it (``waterfill.faiss.functions``), the others
raise an error that names the way. Without a waterfill index among the arguments, FAISS's own
function runs.
"""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable
from typing import Any

from waterfill._util.optional import loaded_faiss, require_faiss
from waterfill.faiss import functions, parameter_space

_MARK = "_waterfill_registered"
_lock = threading.Lock()

# Functions that take an index and have no meaning for a waterfill index.
_REFUSED = (
    "beam_search_encode_step",
    "get_invlist_range",
    "index_cpu_to_all_gpus",
    "index_cpu_to_gpu",
    "index_cpu_to_gpu_multiple",
    "index_cpu_to_gpu_multiple_py",
    "index_cpu_to_gpus_list",
    "range_search_with_parameters_c",
    "search_and_return_centroids",
    "search_centroid",
    "search_with_parameters_c",
    "set_invlist_range",
    "shard_ivf_index_centroids",
    "storage_distance_computer",
)
# Classes beyond faiss.Index whose constructor takes an index.
_OTHER_CLASSES = ("IndexBinaryFromFloat", "ShardedIndex", "SlidingIndexWindow", "Level1Quantizer")
_METHODS = (
    "addIndex",
    "add_index",
    "add_replica",
    "add_shard",
    "check_compatible_for_merge",
    "copy_subset_to",
    "merge_from",
    "removeIndex",
    "remove_index",
    "remove_replica",
    "remove_shard",
)
_STOCK = (
    "To accept the loss that docs/faiss-export.md describes, pass waterfill.to_faiss(index), a "
    "stock copy"
)
_WAYS = {
    "IndexIDMap": "A waterfill index keeps ids itself: call its add_with_ids(x, ids)",
    "IndexRefine": (
        "Create the waterfill index with refine='float32' or 'float16', which keeps rows for "
        "re-ranking"
    ),
    "IndexPreTransform": "Transform the vectors before a waterfill index gets them",
    "IndexShards": "Merge the shards with index.merge_from(shard)",
    "IndexIVF": "Use waterfill.IndexIVF for inverted lists",
    "index_cpu_to": "A waterfill index is searched on the CPU",
}


def register_faiss() -> None:
    """Make FAISS's functions in Python take waterfill indexes, in this process.

    Afterwards ``faiss.write_index``, ``read_index``, ``serialize_index``, ``deserialize_index``,
    ``clone_index``, ``downcast_index``, ``extract_index_ivf``, ``merge_into``,
    ``search_with_parameters``, ``index_factory``, ``IDSelectorTranslated`` and ``ParameterSpace``
    do for a waterfill index what they do for FAISS's own. ``write_index`` writes the format of
    `waterfill.write_index`, which ``faiss.read_index`` reads in any process that has called
    `register_faiss`. Every other function, constructor or method that is given a waterfill index
    raises a TypeError that names the way.

    An index that is created or read while FAISS is imported calls this itself. Call it in a process
    that only reads, and before ``from faiss import read_index``, which would keep FAISS's own
    function. Calling it again has no effect.

    Raises
    ------
    ImportError
        If FAISS is not installed: ``pip install ".[faiss]"``.
    """
    faiss = require_faiss("register_faiss")
    with _lock:
        if not getattr(faiss, _MARK, False):
            _replace(faiss)
            setattr(faiss, _MARK, True)


def _replace(faiss: Any) -> None:
    for name, function in functions.BY_NAME.items():
        if hasattr(faiss, name):
            setattr(faiss, name, _replacement(getattr(faiss, name), function))
    for name in _REFUSED:
        if hasattr(faiss, name):
            setattr(faiss, name, _guard(getattr(faiss, name), f"faiss.{name}"))
    _guard_classes(faiss)
    parameter_space.extend(faiss)
    functions.extend_translated_selector(faiss)


def register_if_loaded() -> None:
    """Call `register_faiss` if FAISS has been imported completely."""
    faiss = loaded_faiss()
    importing = getattr(getattr(faiss, "__spec__", None), "_initializing", False)
    if faiss is not None and not importing:
        register_faiss()


def refusal(what: str) -> TypeError:
    """Return the error for a use of an index that only FAISS's own classes support."""
    name = what.removeprefix("faiss.")
    ways = [way for prefix, way in _WAYS.items() if name.startswith(prefix)]
    return TypeError(
        f"{what}: expected an index of FAISS, got a waterfill index, which FAISS's C++ cannot "
        f"call. {'. '.join([*ways[:1], _STOCK])}."
    )


def refuse_this() -> TypeError:
    """Warn that FAISS's C++ was given a waterfill index, and return the error for it."""
    register_if_loaded()
    error = refusal("FAISS")
    warnings.warn(
        f"{error} If the function was imported before waterfill.register_faiss() was called, call "
        "it as faiss.<name>.",
        RuntimeWarning,
        stacklevel=3,
    )
    return error


def _replacement(original: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gets FAISS's own as its first argument."""

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        return own(original, *args, **kwargs)

    return replaced


def _guard(original: Callable[..., Any], what: str) -> Callable[..., Any]:
    """Return a function that refuses waterfill indexes and otherwise calls the original."""

    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, functions.OWN) for value in (*args, *kwargs.values())):
            raise refusal(what)
        return original(*args, **kwargs)

    return guarded


def _guard_classes(faiss: Any) -> None:
    """Guard constructors and methods of FAISS's classes that take an index."""
    for name, kind in inspect.getmembers(faiss, inspect.isclass):
        if issubclass(kind, faiss.Index) or name in _OTHER_CLASSES or name == "Clustering":
            methods = ("train",) if name == "Clustering" else ("__init__", *_METHODS)
            for method in methods:
                if method in vars(kind):
                    what = f"faiss.{name}" + ("" if method == "__init__" else f".{method}")
                    setattr(kind, method, _guard(vars(kind)[method], what))
