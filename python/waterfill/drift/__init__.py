"""Drift of vectors and queries: detect it, estimate its cost in recall, decide when to retrain."""

from waterfill.drift.canary import Canary
from waterfill.drift.policy import Cost, Decision, RetrainPolicy
from waterfill.drift.report import DriftReport

__all__ = ["Canary", "Cost", "Decision", "DriftReport", "RetrainPolicy"]
