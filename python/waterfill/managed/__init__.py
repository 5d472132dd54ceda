"""An index that trains itself, follows its growth and watches its recall: see `open_index`."""

from waterfill.managed.health import Health as Health
from waterfill.managed.record import Event as Event
from waterfill.managed.settings import Measured as Measured
