"""The command ``waterfill``."""

from __future__ import annotations

import sys

from waterfill.extras import require


def main() -> None:
    """Run the command, and end the process with its exit code."""
    try:
        for module in ("typer", "rich"):
            require(module, "the command waterfill", "cli")
    except ImportError as error:
        print(f"waterfill: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    from waterfill.cli.app import run

    raise SystemExit(run(sys.argv[1:]))
