"""The rows that a codec is trained on, drawn over a whole source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from waterfill import _core
from waterfill._util.progress import Meter
from waterfill.building.parts import Part
from waterfill.building.source import Source
from waterfill.building.streams import RemoteStream, Stream, blocks_of
from waterfill.building.workers import Stop, run
from waterfill.data.row_policy import Policy
from waterfill.data.rows import FloatRows, Rows
from waterfill.training.sampling import ROWS_PER_CELL, drawn_at_most

_STEP_ROWS = 4096  # of the sample, taken at once


def wanted_rows(d: int, cells: int) -> int:
    """Return how many rows training draws if it may."""
    return max(drawn_at_most(d), ROWS_PER_CELL * cells)


def draw(
    source: Source | Stream, rows: int, seed: int, policy: Policy, workers: int, meter: Meter
) -> FloatRows:
    """Draw rows of a source without replacement, each with the same probability.

    They depend on the number of vectors and on the seed alone. Rows that cannot be used are left
    out, unless the policy is to raise.
    """
    if isinstance(source, RemoteStream):
        return source.draw(rows, seed, policy, meter)
    if isinstance(source, Stream):
        return _of_stream(source, rows, seed, policy, meter)
    numbers = drawn_numbers(source.n, rows, seed)
    sample = np.empty((len(numbers), source.d), np.float32)
    bounds = np.searchsorted(numbers, source.firsts)
    meter.begin("sample", source.n)
    tasks = [
        _Task(part, numbers[a:b] - first, sample[a:b])
        for part, first, a, b in zip(
            source.parts, source.firsts[:-1], bounds[:-1], bounds[1:], strict=True
        )
    ]

    def take(task: _Task, stop: Stop) -> None:
        task.take(policy, stop, meter)

    run(tasks, workers, lambda: take, lambda _: None, meter.tell)
    return usable_rows(sample, source.name, policy)


def drawn_numbers(n: int, rows: int, seed: int) -> NDArray[np.int64]:
    """Return the ascending numbers of the rows that are drawn of `n`."""
    rng = np.random.default_rng(seed)
    chosen: NDArray[np.int64] = np.sort(rng.choice(n, min(n, rows), replace=False))
    return chosen


@dataclass(frozen=True)
class _Task:
    """The rows of one part that are drawn, and the place for them."""

    part: Part
    numbers: NDArray[np.int64]
    out: FloatRows

    def take(self, policy: Policy, stop: Stop, meter: Meter) -> None:
        rows = Rows(self.part.open(), self.part.name, self.part.d)
        before = 0
        for first in range(0, len(self.numbers), _STEP_ROWS):
            stop.check()
            numbers = self.numbers[first : first + _STEP_ROWS]
            strict = policy == "raise"
            self.out[first : first + len(numbers)] = rows.take(
                numbers, finite=strict, missing=not strict
            )
            meter.add(int(numbers[-1]) + 1 - before)
            before = int(numbers[-1]) + 1
        meter.add(self.part.n - before)


def usable_rows(sample: FloatRows, name: str, policy: Policy) -> FloatRows:
    """Leave out rows with a NaN or an infinity."""
    if policy == "raise" or _core.first_nonfinite(sample) == len(sample):
        return sample
    kept = np.ascontiguousarray(sample[np.isfinite(sample).all(axis=1)])
    if len(kept) == 0:
        raise ValueError(
            f"{name}: all {len(sample)} rows that were drawn have a NaN or an infinity"
        )
    return kept


def _of_stream(stream: Stream, rows: int, seed: int, policy: Policy, meter: Meter) -> FloatRows:
    """Draw rows in two passes: the first one counts."""
    n = sum(batch.rows.n for batch in stream.batches(None))
    numbers = drawn_numbers(n, rows, seed)
    meter.begin("sample", n)
    parts = [np.empty((0, stream.d), np.float32)]
    for position, block in _positions(stream, policy, meter):
        a, b = np.searchsorted(numbers, [position, position + len(block)])
        parts.append(block[numbers[a:b] - position])
    return usable_rows(np.concatenate(parts), stream.name, policy)


def _positions(stream: Stream, policy: Policy, meter: Meter) -> Iterator[tuple[int, FloatRows]]:
    position = 0
    strict = policy == "raise"
    for _, _, block in blocks_of(stream.batches(None), finite=strict, missing=not strict):
        yield position, block
        position += len(block)
        meter.add(len(block))
        meter.tell()
