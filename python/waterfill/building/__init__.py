"""Building an index in a folder from more vectors than fit into memory: see `waterfill.build`."""

from waterfill._util.progress import Progress
from waterfill.building.result import BuildResult

__all__ = ["BuildResult", "Progress"]
