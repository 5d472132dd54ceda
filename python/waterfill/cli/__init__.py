"""The command line ``waterfill``; its commands are in `waterfill.cli.commands`."""

from __future__ import annotations

import sys

from waterfill._util.optional import require

__all__ = ["main"]


def main() -> None:
    """Run the command, and exit with its code."""
    try:
        for module in ("typer", "rich"):
            require(module, "the command waterfill", "cli")
    except ImportError as error:
        print(f"waterfill: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        from waterfill.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules were imported
        code = 130
    raise SystemExit(code)
