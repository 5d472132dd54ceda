"""Metrics of limiters, batchers, caches, indexes and drift monitors, read at each scrape.

`waterfill.metrics.prometheus`, `waterfill.metrics.multiprocess` and `waterfill.metrics.otel` export
them; each needs the extra of its name, ``multiprocess`` that of ``prometheus``.
"""

from waterfill.metrics.families import BOUNDS, FAMILIES, Family
from waterfill.metrics.sample import Histogram, Sample

__all__ = ["BOUNDS", "FAMILIES", "Family", "Histogram", "Sample"]
