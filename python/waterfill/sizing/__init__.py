"""What an index of many vectors takes: bytes, hours of building, nodes, latency, and cost."""

from waterfill.sizing.estimate import Estimate, estimate
from waterfill.sizing.fan_out import FanOut, fan_out
from waterfill.sizing.index_size import IndexSize, index_size
from waterfill.sizing.measurement import measure_rates
from waterfill.sizing.rates import Rates
from waterfill.sizing.storage import Storage, storage

__all__ = [
    "Estimate",
    "FanOut",
    "IndexSize",
    "Rates",
    "Storage",
    "estimate",
    "fan_out",
    "index_size",
    "measure_rates",
    "storage",
]
