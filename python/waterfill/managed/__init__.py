"""An index that trains itself, follows its growth and watches its recall: see `open_index`."""

from typing import Any

from waterfill.managed.health import Health
from waterfill.managed.record import Event
from waterfill.managed.settings import Measured

__all__ = ["Event", "Health", "ManagedIndex", "Measured"]


def __getattr__(name: str) -> Any:
    if name != "ManagedIndex":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from waterfill.managed.index import ManagedIndex  # imports the optimizer and more

    return ManagedIndex
