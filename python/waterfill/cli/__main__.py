"""The entry point of ``python -m waterfill.cli``."""

from waterfill.cli import main

main()
