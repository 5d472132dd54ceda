"""Vector compression for nearest-neighbour search.

Every eigen-dimension of the data gets just enough bits::

    import waterfill as wf

    plan = wf.Plan.waterfill(wf.analyze(vectors), code_bytes=48)
    index = wf.IndexFlat(wf.Codec.train(vectors, plan))
    index.add(vectors)
    distances, labels = index.search(queries, k=10)
"""

from importlib.metadata import version as _version

from waterfill._core import FormatError, get_num_threads, set_num_threads
from waterfill.admission import Quarantine, Quarantined
from waterfill.analysis import Analysis, Finding, Norms, analyze
from waterfill.capacity import CapacityReport, Slo, capacity_test
from waterfill.codec import Codec
from waterfill.distortion import Report
from waterfill.drift.canary import Canary
from waterfill.drift.cost import Cost
from waterfill.drift.monitor import DriftMonitor
from waterfill.drift.policy import Decision, RetrainPolicy
from waterfill.drift.report import DriftReport
from waterfill.errors import ArgumentError, FaissCopyWarning, MissingIdError, NotTrainedError
from waterfill.faiss.compress import compress
from waterfill.faiss.convert import to_faiss
from waterfill.faiss.export import export_faiss
from waterfill.faiss.factory import index_factory
from waterfill.files import open_vectors
from waterfill.flat import IndexFlat
from waterfill.io import read_codec, read_index, write_codec, write_index
from waterfill.ivf import IndexIVF
from waterfill.life.attempt import GateError, SwapReport
from waterfill.life.compare import Comparison, compare
from waterfill.life.gate import Gate
from waterfill.life.generation import Generation
from waterfill.life.retrain import retrain
from waterfill.life.swap import SwapIndex
from waterfill.manifest import Manifest
from waterfill.metrics.metrics import Metrics
from waterfill.parameters import SearchParameters, SearchParametersIVF
from waterfill.plan import Group, Plan
from waterfill.quality import Check, check
from waterfill.recipe import Recipe
from waterfill.reporting.page import report
from waterfill.reproduce import Reproduction, reproduce
from waterfill.selectors import (
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
from waterfill.serving import AtCapacity, Limiter, ShedMiddleware
from waterfill.serving.batcher import Batcher
from waterfill.serving.cached import CachedSearch
from waterfill.tuning.optimize import optimize
from waterfill.tuning.result import Result
from waterfill.tuning.trial import Frontier, Settings, Trial

__version__ = _version("waterfill")

__all__ = [
    "Analysis",
    "ArgumentError",
    "AtCapacity",
    "Batcher",
    "CachedSearch",
    "Canary",
    "CapacityReport",
    "Check",
    "Codec",
    "Comparison",
    "Cost",
    "Decision",
    "DriftMonitor",
    "DriftReport",
    "FaissCopyWarning",
    "Finding",
    "FormatError",
    "Frontier",
    "Gate",
    "GateError",
    "Generation",
    "Group",
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
    "IndexIVF",
    "Limiter",
    "Manifest",
    "Metrics",
    "MissingIdError",
    "Norms",
    "NotTrainedError",
    "Plan",
    "Quarantine",
    "Quarantined",
    "Recipe",
    "Report",
    "Reproduction",
    "Result",
    "RetrainPolicy",
    "SearchParameters",
    "SearchParametersIVF",
    "Settings",
    "ShedMiddleware",
    "Slo",
    "SwapIndex",
    "SwapReport",
    "Trial",
    "analyze",
    "capacity_test",
    "check",
    "compare",
    "compress",
    "export_faiss",
    "get_num_threads",
    "index_factory",
    "open_vectors",
    "optimize",
    "read_codec",
    "read_index",
    "report",
    "reproduce",
    "retrain",
    "set_num_threads",
    "to_faiss",
    "write_codec",
    "write_index",
]
