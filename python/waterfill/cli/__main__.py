"""``python -m waterfill.cli``."""

from waterfill.cli import main

main()
