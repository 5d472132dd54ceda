"""Drift of vectors and queries: detect it, estimate its cost in recall, decide when to retrain."""

from waterfill.drift.canary import Canary
from waterfill.drift.report import DriftReport
from waterfill.drift.retrain_policy import Cost, Decision, RetrainPolicy

__all__ = ["Canary", "Cost", "Decision", "DriftReport", "RetrainPolicy"]
