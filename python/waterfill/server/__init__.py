"""An HTTP service for an index: search, add and swap, with a limit and a graceful shutdown."""

from waterfill._util.optional import require

for _module in ("fastapi", "uvicorn", "prometheus_client"):
    require(_module, "waterfill.server", "serve")

from waterfill.server.app import create_app  # noqa: E402 - it imports the modules required above
from waterfill.server.settings import ServerSettings  # noqa: E402

__all__ = ["ServerSettings", "create_app"]
