"""The optimizer behind `waterfill.optimize`: trials, objectives and results."""

from waterfill.optimizer.result import Result
from waterfill.optimizer.trial import Frontier, Trial, TrialSettings

__all__ = ["Frontier", "Result", "Trial", "TrialSettings"]
