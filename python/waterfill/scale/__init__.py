"""Training, encoding, building and searching on a Ray cluster: ``pip install "waterfill[ray]"``."""

from waterfill.scale.build import build
from waterfill.scale.encode import encode
from waterfill.scale.sharded_index import ShardedIndex, ShardedResult
from waterfill.scale.train import analyze, train

__all__ = ["ShardedIndex", "ShardedResult", "analyze", "build", "encode", "train"]
