"""Warnings where a default costs recall, each with the way out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from waterfill._util.validation import Metric
from waterfill.data.row_policy import caller_stacklevel
from waterfill.errors import RecallWarning

if TYPE_CHECKING:
    from waterfill.codec import Codec

_FEW_ROWS = 1000  # with as many, recall@10 is 0.03 to 0.05 below that with 16,000
_LOW_RECALL = 0.5  # of the ten nearest in the trial of training
_DEEP_RECALL = 0.7  # below it, 4 candidates per result lose 0.04 and more of recall@10
DEFAULT_K_FACTOR = 4.0


def measured_recall(codec: Codec, metric: Metric) -> float:
    """Return the recall of the ten nearest by codes alone in training's trial; 0: not measured."""
    ip, l2 = codec._core.settings["recall"]
    return float(l2 if metric == "l2" else ip)


def warn_of_training(codec: Codec, metric: Metric, rows: int, refine: Any) -> None:
    """Warn of a codec that was trained on few rows, or whose codes find few neighbours."""
    if rows < _FEW_ROWS:
        _warn(
            f"x: {rows:,} rows train codes that find less than those of more rows do (recall@10 "
            "0.73 with 256 rows of MiniLM, 0.77 with 1,000, 0.82 with 16,000); pass some thousand "
            "rows, or use Codec.universal, which needs none"
        )
    found = measured_recall(codec, metric)
    if refine is None and 0 < found < _LOW_RECALL:
        _warn(
            f"code_bytes: {codec._core.groups} bytes found {found:.2f} of the ten nearest "
            "vectors in a trial of training; give more code_bytes (waterfill.optimize chooses "
            "them) or keep rows (refine='int8'). Vectors without structure compress badly"
        )


def warn_of_k_factor(codec: Codec, metric: Metric) -> None:
    """Warn if four candidates per result are too few for codes that find little."""
    found = measured_recall(codec, metric)
    if 0 < found < _DEEP_RECALL:
        _warn(
            f"k_factor: rows rank {DEFAULT_K_FACTOR:g} candidates per result, the default, and "
            f"these codes found {found:.2f} of the ten nearest vectors in a trial of training; "
            "index.k_factor = 10 finds more, and takes longer"
        )


def _warn(message: str) -> None:
    warnings.warn(message, RecallWarning, stacklevel=caller_stacklevel())
