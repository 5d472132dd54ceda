"""Vectors as input: rows in memory or in files, and what happens to rows that cannot be used."""

from waterfill.data.block_source import FileSource
from waterfill.data.row_policy import Quarantine, Quarantined

__all__ = ["FileSource", "Quarantine", "Quarantined"]
