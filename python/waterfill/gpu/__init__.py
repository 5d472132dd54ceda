"""Indexes that an NVIDIA GPU searches and fills, with the results of the CPU.

They are what ``index.to_gpu()`` returns: see ``docs/gpu.md``.
"""

from waterfill.gpu.indexes import IndexFlat, IndexIVF

__all__ = ["IndexFlat", "IndexIVF"]
