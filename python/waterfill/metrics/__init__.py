"""Metrics of limiters, batchers, caches, indexes and drift monitors, read at each scrape."""

from waterfill.metrics.families import BOUNDS, FAMILIES, Family
from waterfill.metrics.sample import Histogram, Sample
from waterfill.metrics.shared import Shared

__all__ = ["BOUNDS", "FAMILIES", "Family", "Histogram", "Sample", "Shared"]
