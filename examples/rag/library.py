"""A library: passages and the compressed index of their embeddings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from embedding import Embedder
from numpy.typing import NDArray
from passages import Passage, sentences
from words import frequencies, overlap, question_stems

import waterfill as wf

CODE_BYTES = 48
CANDIDATES = 80  # passages that get an exact score
RELEVANT = 0.35  # passages with a lower score are not returned: see README.md
FORMAT = 1

_LEAST = 16  # passages; fewer need no index
_QUESTIONS = 300


@dataclass(frozen=True)
class Answer:
    """A passage that may answer a question.

    Attributes
    ----------
    score : float
        Mean of the cosine of the embeddings and the weighted share of the question's words.
    passage : Passage
    line : int
        Line where the best sentence begins.
    sentence : str
        The sentence of the passage with the best score.
    """

    score: float
    passage: Passage
    line: int
    sentence: str


@dataclass(frozen=True)
class Size:
    """Memory of the embeddings in bytes, and the recall after compression.

    Attributes
    ----------
    before, after : int
        As float32, and in the index without its codec.
    recall, kept : float
        Share of the exact ten nearest that are among the ten found, and among the candidates.
        The queries are sentences of the passages.
    """

    before: int
    after: int
    recall: float
    kept: float


class Library:
    """Passages that can be searched by question.

    Parameters
    ----------
    passages : list of Passage
    index : IndexFlat
        Index of their embeddings, in the same order.
    known : dict of str to int
        Number of passages that contain each word.
    embedder : Embedder
    """

    def __init__(
        self,
        passages: list[Passage],
        index: wf.IndexFlat,
        known: dict[str, int],
        embedder: Embedder,
    ) -> None:
        self.passages, self.index, self.known = passages, index, known
        self._embedder = embedder
        self._cached = wf.CachedSearch(index, max_entries=1_000)

    def ask(self, question: str, most: int = 3) -> list[Answer]:
        """Return the best passages for a question; none if no passage is relevant.

        The index finds candidates. They are scored exactly from their texts, so compression can
        only lose passages that do not become candidates.

        Parameters
        ----------
        question : str
        most : int
            Largest number of passages.

        Returns
        -------
        list of Answer
            Best first.
        """
        query = self._embedder.embed([question])
        words = question_stems(question)
        _, ids = self._cached.search(query, min(CANDIDATES, len(self.passages)))
        candidates = [self.passages[i] for i in ids[0] if i >= 0]
        scores = self._scores(query[0], words, [one.embedded for one in candidates])
        best = [i for i in np.argsort(-scores, kind="stable")[:most] if scores[i] >= RELEVANT]
        return [self._answer(query[0], words, candidates[i], float(scores[i])) for i in best]

    def _answer(
        self, query: NDArray[np.float32], words: set[str], passage: Passage, score: float
    ) -> Answer:
        """Make the answer: the sentence of the passage with the best score."""
        found = sentences(passage) or [(passage.first, " ".join(passage.text.split()))]
        line, sentence = found[int(np.argmax(self._scores(query, words, [t for _, t in found])))]
        return Answer(score, passage, line, sentence)

    def _scores(
        self, query: NDArray[np.float32], words: set[str], texts: list[str]
    ) -> NDArray[np.float32]:
        count = len(self.passages)
        parts = [overlap(words, text, self.known, count) for text in texts]
        return (self._embedder.embed(texts) @ query + np.array(parts, np.float32)) / 2

    def write(self, folder: Path) -> None:
        """Write passages and index to a folder; create it if needed.

        Parameters
        ----------
        folder : Path
        """
        folder.mkdir(parents=True, exist_ok=True)
        kept = {
            "format": FORMAT,
            "passages": [asdict(passage) for passage in self.passages],
            "known": self.known,
        }
        wf.write_index(self.index, folder / "index.wf")
        (folder / "passages.json").write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, embedder: Embedder) -> Library:
        """Read a library that `write` has written.

        Parameters
        ----------
        folder : Path
        embedder : Embedder

        Returns
        -------
        Library

        Raises
        ------
        ValueError
            If the folder holds no library, or an incomplete one.
        """
        try:
            kept = json.loads((folder / "passages.json").read_text(encoding="utf-8"))
            index = wf.read_index(folder / "index.wf")
        except FileNotFoundError as error:
            raise ValueError(f"{folder} is not a folder written by 'index'") from error
        if kept.get("format") != FORMAT or len(kept["passages"]) != index.ntotal:
            raise ValueError(f"{folder} is incomplete or has another format; run 'index' again")
        return cls([Passage(**one) for one in kept["passages"]], index, kept["known"], embedder)


def build(passages: list[Passage], embedder: Embedder) -> tuple[Library, Size]:
    """Embed passages, compress the embeddings, and measure size and recall.

    Parameters
    ----------
    passages : list of Passage
    embedder : Embedder

    Returns
    -------
    library : Library
    size : Size

    Raises
    ------
    ValueError
        If there are too few passages.
    """
    if len(passages) < _LEAST:
        raise ValueError(f"{len(passages)} passages are too few; at least {_LEAST} are needed")
    texts = [passage.embedded for passage in passages]
    vectors = embedder.embed(texts)
    index = wf.IndexFlat(wf.Recipe(vectors.shape[1], CODE_BYTES).train(vectors, "ip"))
    index.add(vectors)
    library = Library(passages, index, frequencies(texts), embedder)
    return library, _size(library, vectors, embedder)


def _size(library: Library, vectors: NDArray[np.float32], embedder: Embedder) -> Size:
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(vectors))[:_QUESTIONS]
    texts = [text for i in chosen for _, text in sentences(library.passages[i])[:1]]
    queries = embedder.embed(texts)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    found = library.index.search(queries, CANDIDATES)[1]
    recall, kept = (
        float(np.mean([np.isin(a, b[:k]).mean() for a, b in zip(exact, found, strict=True)]))
        for k in (10, CANDIDATES)
    )
    return Size(vectors.nbytes, library.index.nbytes, recall, kept)
