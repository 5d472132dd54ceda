"""Drift of vectors and queries: what moved, what it costs, when to train anew."""

from waterfill.drift.canary import Canary
from waterfill.drift.cost import Cost
from waterfill.drift.monitor import DriftMonitor
from waterfill.drift.policy import Decision, RetrainPolicy
from waterfill.drift.report import DriftReport

__all__ = ["Canary", "Cost", "Decision", "DriftMonitor", "DriftReport", "RetrainPolicy"]
