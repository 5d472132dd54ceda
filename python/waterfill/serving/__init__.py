"""Serving: how much is taken on at once, and what a user is told who comes beyond it."""

from waterfill.serving.errors import AtCapacity
from waterfill.serving.limiter import Limiter

__all__ = ["AtCapacity", "Limiter"]
