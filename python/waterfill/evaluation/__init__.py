"""Evaluation of indexes: recall against exact search, labelled answers, FAISS's own index types."""

from waterfill.evaluation.answers import Answers, QueryMean, evaluate_answers
from waterfill.evaluation.faiss_peers import Peer, Peers, measure_peers
from waterfill.evaluation.index_recall import IndexRecall, measure_recall
from waterfill.evaluation.judgements import Judgements, read_qrels

__all__ = [
    "Answers",
    "IndexRecall",
    "Judgements",
    "Peer",
    "Peers",
    "QueryMean",
    "evaluate_answers",
    "measure_peers",
    "measure_recall",
    "read_qrels",
]
