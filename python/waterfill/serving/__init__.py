"""Serving: how much is taken on at once, batches of concurrent queries, remembered results."""

from waterfill.serving.asgi import ShedMiddleware
from waterfill.serving.errors import AtCapacity
from waterfill.serving.limiter import Limiter

__all__ = ["AtCapacity", "Limiter", "ShedMiddleware"]
