"""Evaluation of indexes: recall against exact search, labelled answers, FAISS's own index types."""

from waterfill.evaluation.answers import Answers, Estimate, evaluate_answers
from waterfill.evaluation.faiss_peers import Peer, Peers, measure_peers
from waterfill.evaluation.index_recall import IndexRecall, measure_recall
from waterfill.evaluation.judgements import Judgements, read_qrels

__all__ = [
    "Answers",
    "Estimate",
    "IndexRecall",
    "Judgements",
    "Peer",
    "Peers",
    "evaluate_answers",
    "measure_peers",
    "measure_recall",
    "read_qrels",
]
