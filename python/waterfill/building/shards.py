"""Division of a source into shards, each of which becomes a segment of the folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waterfill.building.parts import Part


@dataclass(frozen=True)
class Span:
    """Consecutive rows of one part.

    Attributes
    ----------
    part : int
        Its number in the source.
    start, stop : int
        Rows of the part.
    position : int
        Position of row `start` in the source.
    """

    part: int
    start: int
    stop: int
    position: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of a source."""

    number: int
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return sum(map(len, self.spans))


def split(parts: Sequence[Part], most: int) -> list[Shard]:
    """Divide a source into shards of at most `most` rows, about equally large.

    Together they are all rows in order, each once. Cuts lie where reading can start: what cannot be
    read in part, such as a row group of a Parquet file, is divided only if it is larger than a
    shard. So shards depend on the source and on `most` alone.
    """
    n = sum(part.n for part in parts)
    enough = -(-n // -(-n // most))  # rows of each of the fewest shards, if they are equal
    shards: list[list[Span]] = [[]]
    size = 0

    def put(span: Span) -> None:
        nonlocal size
        shards[-1].append(span)
        size += len(span)

    def end() -> None:
        nonlocal size
        if size:
            shards.append([])
            size = 0

    for span, whole in _pieces(parts):
        if whole and len(span) <= most:
            if size + len(span) > most:
                end()
            put(span)
            if size >= enough:
                end()
            continue
        if whole:
            end()
        limit = -(-len(span) // -(-len(span) // most)) if whole else enough
        while len(span):
            taken = min(limit - size, len(span))
            put(Span(span.part, span.start, span.start + taken, span.position))
            span = Span(span.part, span.start + taken, span.stop, span.position + taken)
            if size >= limit:
                end()
        if whole:
            end()
    return [
        Shard(number, tuple(_joined(spans)))
        for number, spans in enumerate(spans for spans in shards if spans)
    ]


def _pieces(parts: Sequence[Part]) -> Iterator[tuple[Span, bool]]:
    """Yield what is read in one go, and whether dividing it would read rows twice."""
    position = 0
    for number, part in enumerate(parts):
        if part.starts is None:
            yield Span(number, 0, part.n, position), False
        else:
            bounds: NDArray[np.int64] = np.unique([0, *part.starts, part.n])
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                yield Span(number, start, stop, position + start), True
        position += part.n


def in_one_go(span: Span, part: Part) -> Iterator[tuple[int, int]]:
    """Yield ranges of a span whose ends blocks keep: those of row groups."""
    bounds = [span.start, span.stop]
    if part.starts is not None:
        inside = part.starts[(part.starts > span.start) & (part.starts < span.stop)]
        bounds = [span.start, *np.unique(inside).tolist(), span.stop]
    yield from itertools.pairwise(bounds)


def _joined(spans: list[Span]) -> Iterator[Span]:
    """Yield spans, those of one part joined."""
    last: Span | None = None
    for span in spans:
        if last is not None and last.part == span.part and last.stop == span.start:
            last = Span(last.part, last.start, span.stop, last.position)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last
