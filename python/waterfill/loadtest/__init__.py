"""The load test behind `waterfill.capacity_test`: the rate and concurrency that meet an SLO."""

from waterfill.loadtest.figures import Step
from waterfill.loadtest.http_target import NotAllowedError, StatusError, Url
from waterfill.loadtest.report import CapacityError, CapacityReport, GeneratorLateError
from waterfill.loadtest.slo import Slo

__all__ = [
    "CapacityError",
    "CapacityReport",
    "GeneratorLateError",
    "NotAllowedError",
    "Slo",
    "StatusError",
    "Step",
    "Url",
]
