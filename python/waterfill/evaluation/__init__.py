"""Evaluation of indexes: exact neighbours, recall, and FAISS's own index types."""

from waterfill.evaluation.faiss_peers import Peer, Peers, measure_peers
from waterfill.evaluation.index_recall import IndexRecall, measure_recall

__all__ = ["IndexRecall", "Peer", "Peers", "measure_peers", "measure_recall"]
