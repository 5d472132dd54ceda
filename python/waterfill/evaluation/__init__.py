"""Evaluation of compressed indexes: exact neighbours, recall, and FAISS's own index types."""

from waterfill.evaluation.faiss_peers import Peer, Peers, measure_peers

__all__ = ["Peer", "Peers", "measure_peers"]
