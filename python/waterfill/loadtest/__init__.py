"""The load test behind `waterfill.capacity_test`: the rate and concurrency that meet an SLO."""

from waterfill.loadtest.http_target import Url
from waterfill.loadtest.report import CapacityError, CapacityReport, GeneratorLateError
from waterfill.loadtest.slo import Slo

__all__ = ["CapacityError", "CapacityReport", "GeneratorLateError", "Slo", "Url"]
