"""Training of codebooks from a plan and a sample of vectors, and its record, the manifest."""

from waterfill.errors import RecallWarning
from waterfill.training.manifest import Manifest

__all__ = ["Manifest", "RecallWarning"]
