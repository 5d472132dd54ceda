"""Vector compression for nearest-neighbour search.

Every eigen-dimension of the data gets just enough bits::

    import waterfill as wf

    plan = wf.Plan.waterfill(wf.analyze(vectors), code_bytes=48)
    index = wf.IndexFlat(wf.Codec.train(vectors, plan))
    index.add(vectors)
    distances, labels = index.search(queries, k=10)

Sub-packages hold what these names return and what operating an index takes: `waterfill.data`,
`waterfill.training`, `waterfill.folder`, `waterfill.building`, `waterfill.evaluation`,
`waterfill.optimizer`, `waterfill.drift`, `waterfill.lifecycle`, `waterfill.loadtest`,
`waterfill.serving`, `waterfill.metrics`, `waterfill.server`, `waterfill.scale`,
`waterfill.columns`, `waterfill.sizing`, `waterfill.managed`, `waterfill.gpu`.
"""

from __future__ import annotations

import logging as _logging
from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from waterfill._core import FormatError, get_num_threads, set_num_threads
from waterfill.analysis import analyze
from waterfill.codec import Codec
from waterfill.data.vector_files import open_vectors
from waterfill.errors import (
    ArgumentError,
    AtCapacity,
    MissingIdError,
    NotTrainedError,
)
from waterfill.index.flat import IndexFlat
from waterfill.index.hnsw import IndexHNSW
from waterfill.index.hnsw_parameters import SearchParametersHNSW
from waterfill.index.ivf import IndexIVF
from waterfill.index.search_parameters import SearchParameters, SearchParametersIVF
from waterfill.index.selectors import (
    IDSelector,
    IDSelectorAll,
    IDSelectorAnd,
    IDSelectorArray,
    IDSelectorBatch,
    IDSelectorBitmap,
    IDSelectorNot,
    IDSelectorOr,
    IDSelectorRange,
    IDSelectorXOr,
)
from waterfill.io import read_codec, read_index, write_codec, write_index
from waterfill.plan import Plan
from waterfill.quality import check
from waterfill.recipe import Recipe

if TYPE_CHECKING:
    from waterfill import analysis as analysis
    from waterfill import building as building
    from waterfill import codec as codec
    from waterfill import columns as columns
    from waterfill import data as data
    from waterfill import drift as drift
    from waterfill import evaluation as evaluation
    from waterfill import folder as folder
    from waterfill import gpu as gpu
    from waterfill import lifecycle as lifecycle
    from waterfill import loadtest as loadtest
    from waterfill import managed as managed
    from waterfill import metrics as metrics
    from waterfill import optimizer as optimizer
    from waterfill import plan as plan
    from waterfill import quality as quality
    from waterfill import reproduction as reproduction
    from waterfill import scale as scale
    from waterfill import server as server
    from waterfill import serving as serving
    from waterfill import sizing as sizing
    from waterfill import training as training
    from waterfill.building.build import build
    from waterfill.drift.monitor import DriftMonitor
    from waterfill.faiss.compress import compress
    from waterfill.faiss.export import export_faiss, to_faiss
    from waterfill.faiss.factory import index_factory
    from waterfill.faiss.registration import register_faiss
    from waterfill.lifecycle.retrain import retrain
    from waterfill.lifecycle.swap import SwapIndex
    from waterfill.loadtest.capacity import capacity_test
    from waterfill.managed.opening import open_index
    from waterfill.metrics.registry import Metrics
    from waterfill.optimizer.optimize import optimize
    from waterfill.reporting.page import report
    from waterfill.reproduction import reproduce
    from waterfill.serving.asgi import ShedMiddleware
    from waterfill.serving.batcher import Batcher
    from waterfill.serving.cache import CachedSearch
    from waterfill.serving.limiter import Limiter

    __version__: str

# Programs choose what happens to what the package logs; by default nothing.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

# Imported on first use, so that `import waterfill` stays fast.
_LAZY_NAMES = {
    "Batcher": "serving.batcher",
    "CachedSearch": "serving.cache",
    "DriftMonitor": "drift.monitor",
    "Limiter": "serving.limiter",
    "Metrics": "metrics.registry",
    "ShedMiddleware": "serving.asgi",
    "SwapIndex": "lifecycle.swap",
    "build": "building.build",
    "capacity_test": "loadtest.capacity",
    "compress": "faiss.compress",
    "export_faiss": "faiss.export",
    "index_factory": "faiss.factory",
    "open_index": "managed.opening",
    "optimize": "optimizer.optimize",
    "register_faiss": "faiss.registration",
    "report": "reporting.page",
    "reproduce": "reproduction",
    "retrain": "lifecycle.retrain",
    "to_faiss": "faiss.export",
}
_LAZY_MODULES = {
    "building",
    "columns",
    "drift",
    "evaluation",
    "folder",
    "gpu",
    "lifecycle",
    "loadtest",
    "managed",
    "metrics",
    "optimizer",
    "reproduction",
    "scale",
    "server",
    "serving",
    "sizing",
}

__all__ = [
    "ArgumentError",
    "AtCapacity",
    "Batcher",
    "CachedSearch",
    "Codec",
    "DriftMonitor",
    "FormatError",
    "IDSelector",
    "IDSelectorAll",
    "IDSelectorAnd",
    "IDSelectorArray",
    "IDSelectorBatch",
    "IDSelectorBitmap",
    "IDSelectorNot",
    "IDSelectorOr",
    "IDSelectorRange",
    "IDSelectorXOr",
    "IndexFlat",
    "IndexHNSW",
    "IndexIVF",
    "Limiter",
    "Metrics",
    "MissingIdError",
    "NotTrainedError",
    "Plan",
    "Recipe",
    "SearchParameters",
    "SearchParametersHNSW",
    "SearchParametersIVF",
    "ShedMiddleware",
    "SwapIndex",
    "analyze",
    "build",
    "capacity_test",
    "check",
    "compress",
    "export_faiss",
    "get_num_threads",
    "index_factory",
    "open_index",
    "open_vectors",
    "optimize",
    "read_codec",
    "read_index",
    "register_faiss",
    "report",
    "reproduce",
    "retrain",
    "set_num_threads",
    "to_faiss",
    "write_codec",
    "write_index",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY_NAMES:
        value = getattr(_import_module(f"waterfill.{_LAZY_NAMES[name]}"), name)
    elif name in _LAZY_MODULES:
        value = _import_module(f"waterfill.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("waterfill")
    else:
        raise AttributeError(f"module 'waterfill' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_NAMES, *_LAZY_MODULES, "__version__"})
