"""The sets of bench/peers.py by name."""

from __future__ import annotations

from dataclasses import dataclass

import corpora
from swept_methods import Metric


@dataclass(frozen=True)
class PeerSet:
    """A set: a source of `corpora.exactly`, rows, dimensions; ``sift`` is a folder of the user."""

    source: str
    rows: int
    d: int
    metric: Metric

    @property
    def from_folder(self) -> bool:
        """Whether the vectors are in a folder of the user, as no package has them."""
        return self.source == "sift"


SETS = {
    "minilm-50k": PeerSet("minilm", 50_000, 384, "ip"),
    "minilm-200k": PeerSet("minilm", 200_000, 384, "ip"),
    "wordllama-200k": PeerSet("wordllama-unit", 200_000, 256, "ip"),
    "wordllama-500k": PeerSet("wordllama-unit", 500_000, 256, "ip"),
    "sift-50k": PeerSet("sift", 50_000, 128, "l2"),
    "mpnet-30k": PeerSet("mpnet", 30_000, 768, "ip"),
}


def load(one: PeerSet, cache: str | None, sift: str | None) -> corpora.Corpus | None:
    """Return the vectors of a set; None if it needs a folder that is not given.

    Parameters
    ----------
    cache
        Cache folder of ``datasets.py``, which builds a missing set.
    sift
        A folder with ``base.npy`` and ``query.npy`` of SIFT descriptors.
    """
    if not one.from_folder:
        return corpora.exactly(one.source, cache, one.rows)
    return corpora.find(sift).cut(one.rows) if sift else None
