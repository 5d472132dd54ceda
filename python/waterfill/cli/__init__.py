"""The command ``waterfill``."""

from __future__ import annotations

import sys

from waterfill._util.optional import require


def main() -> None:
    """Run the command, and end the process with its exit code."""
    try:
        for module in ("typer", "rich"):
            require(module, "the command waterfill", "cli")
    except ImportError as error:
        print(f"waterfill: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        from waterfill.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before there was anything to clean up
        code = 130
    raise SystemExit(code)
