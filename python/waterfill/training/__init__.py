"""Training: from a plan and a sample of vectors to codebooks, with a manifest of how."""

from waterfill.training.manifest import Manifest

__all__ = ["Manifest"]
