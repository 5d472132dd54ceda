"""Vectors as input: arrays and files in blocks, and policies for rows that cannot be used."""

from waterfill.data.block_source import FileSource
from waterfill.data.row_policy import Quarantine, Quarantined
from waterfill.data.rows import BlockSource

__all__ = ["BlockSource", "FileSource", "Quarantine", "Quarantined"]
