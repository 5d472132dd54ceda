"""Training, encoding, building and searching on a Ray cluster: ``pip install ".[ray]"``."""

from waterfill.scale.building import build
from waterfill.scale.encoding import encode
from waterfill.scale.sharded_index import ShardedIndex, ShardedResult
from waterfill.scale.training import analyze, train

__all__ = ["ShardedIndex", "ShardedResult", "analyze", "build", "encode", "train"]
