"""Metrics: what limiters, indexes and drift monitors count, read when somebody asks."""

from waterfill.metrics.families import BOUNDS, FAMILIES, Family
from waterfill.metrics.metrics import Metrics
from waterfill.metrics.sample import Histogram, Sample
from waterfill.metrics.shared import Shared

__all__ = ["BOUNDS", "FAMILIES", "Family", "Histogram", "Metrics", "Sample", "Shared"]
