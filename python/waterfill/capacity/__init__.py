"""The capacity test: how many requests a second a service answers in time, and how many at once."""

from waterfill.capacity.errors import CapacityError, GeneratorLateError
from waterfill.capacity.report import CapacityReport
from waterfill.capacity.run import capacity_test
from waterfill.capacity.slo import Slo
from waterfill.capacity.url import Url

__all__ = ["CapacityError", "CapacityReport", "GeneratorLateError", "Slo", "Url", "capacity_test"]
