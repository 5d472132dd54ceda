"""Serving under load: admission limits, batches of concurrent queries, cached results.

`Limiter`, `ShedMiddleware`, `Batcher` and `CachedSearch` are in `waterfill` itself; here are the
types of what they return.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from waterfill.serving.batch_queue import BatcherStats
    from waterfill.serving.cache import CacheStats
    from waterfill.serving.limiter_base import Permit

# Imported on first use, so that `wf.Limiter` does not import what batches and caches.
_LAZY_NAMES = {
    "BatcherStats": "batch_queue",
    "CacheStats": "cache",
    "Permit": "limiter_base",
}

__all__ = ["BatcherStats", "CacheStats", "Permit"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY_NAMES:
        raise AttributeError(f"module 'waterfill.serving' has no attribute {name!r}")
    value = getattr(_import_module(f"waterfill.serving.{_LAZY_NAMES[name]}"), name)
    globals()[name] = value
    return value
