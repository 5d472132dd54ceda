"""Serving: how much is taken on at once, batches of concurrent queries, remembered results."""

from waterfill.capacity.report import CapacityReport
from waterfill.capacity.run import capacity_test
from waterfill.capacity.slo import Slo
from waterfill.serving.asgi import ShedMiddleware
from waterfill.serving.batcher import Batcher
from waterfill.serving.cached import CachedSearch
from waterfill.serving.errors import AtCapacity
from waterfill.serving.limiter import Limiter

__all__ = [
    "AtCapacity",
    "Batcher",
    "CachedSearch",
    "CapacityReport",
    "Limiter",
    "ShedMiddleware",
    "Slo",
    "capacity_test",
]
