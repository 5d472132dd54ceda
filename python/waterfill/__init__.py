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
from waterfill.analysis import Analysis, Finding, Norms, analyze
from waterfill.codec import Codec
from waterfill.distortion import Report
from waterfill.drift.canary import Canary
from waterfill.drift.policy import RetrainPolicy
from waterfill.errors import ArgumentError, FaissCopyWarning, MissingIdError, NotTrainedError
from waterfill.faiss.compress import compress
from waterfill.faiss.convert import to_faiss
from waterfill.faiss.export import export_faiss
from waterfill.faiss.factory import index_factory
from waterfill.files import open_vectors
from waterfill.flat import IndexFlat
from waterfill.io import read_codec, read_index, write_codec, write_index
from waterfill.ivf import IndexIVF
from waterfill.manifest import Manifest
from waterfill.parameters import SearchParameters, SearchParametersIVF
from waterfill.plan import Group, Plan
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
from waterfill.tuning.optimize import optimize
from waterfill.tuning.result import Result
from waterfill.tuning.trial import Frontier, Settings, Trial

__version__ = _version("waterfill")

__all__ = [
    "Analysis",
    "ArgumentError",
    "Canary",
    "Codec",
    "FaissCopyWarning",
    "Finding",
    "FormatError",
    "Frontier",
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
    "Manifest",
    "MissingIdError",
    "Norms",
    "NotTrainedError",
    "Plan",
    "Recipe",
    "Report",
    "Reproduction",
    "Result",
    "RetrainPolicy",
    "SearchParameters",
    "SearchParametersIVF",
    "Settings",
    "Trial",
    "analyze",
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
    "set_num_threads",
    "to_faiss",
    "write_codec",
    "write_index",
]
