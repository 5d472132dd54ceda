"""An index behind HTTP: searching, adding, swapping, with a limit and an end that loses nothing."""

from waterfill.extras import require

for _module in ("fastapi", "uvicorn", "prometheus_client"):
    require(_module, "waterfill.service", "serve")

from waterfill.service.app import create_app  # noqa: E402 - it imports what was just asked for
from waterfill.service.settings import Settings  # noqa: E402

__all__ = ["Settings", "create_app"]
