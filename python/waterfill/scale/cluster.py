"""Ray, and tasks on a dataset's rows whose results do not depend on its blocks and workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from waterfill import _core
from waterfill._util.optional import require
from waterfill.building.arrow_datasets import table_part
from waterfill.building.parts import Part

_WAITING = 2  # tasks of each CPU that are submitted at once
_TICK = 0.1  # seconds between calls of `tell`


def require_ray() -> Any:
    """Import Ray."""
    return require("ray", "waterfill.scale", "ray")


def cpus() -> int:
    """Return the CPUs of the cluster, which is started if there is none."""
    ray = require_ray()
    if not ray.is_initialized():
        ray.init()
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a dataset, where they lie.

    Attributes
    ----------
    number : int
    first : int
        Number of the first row in the dataset.
    pieces : tuple
        (reference of a block, first row of the block, row behind the last) of each stretch.
    """

    number: int
    first: int
    pieces: tuple[tuple[Any, int, int], ...]

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self.pieces)

    def tables(self) -> Iterator[tuple[int, Any]]:
        """Yield (number of the first row, table) of each piece, where this is called."""
        ray = require_ray()
        accessor = require("ray.data.block", "waterfill.scale", "ray").BlockAccessor
        first = self.first
        for reference, start, stop in self.pieces:
            table = accessor.for_block(ray.get(reference)).to_arrow().slice(start, stop - start)
            yield first, table
            first += len(table)

    def parts(self, key: str) -> Iterator[tuple[int, Part]]:
        """Yield (number of the first row, vectors and ids) of each piece."""
        for first, table in self.tables():
            name = f"rows {first:,} to {first + len(table) - 1:,} of the dataset"
            part = table_part(table, key, name)
            assert part is not None  # there are rows
            yield first, part


@contextmanager
def _in_order(dataset: Any) -> Iterator[None]:
    """Let a dataset give its blocks in order."""
    options = dataset.context.execution_options
    before, options.preserve_order = options.preserve_order, True
    try:
        yield
    finally:
        options.preserve_order = before


def chunks(dataset: Any, rows: int) -> Iterator[Chunk]:
    """Divide a dataset into chunks of `rows` rows, while it is read; the last one has the rest."""
    pieces: list[tuple[Any, int, int]] = []
    number = first = size = 0
    with _in_order(dataset):
        for bundle in dataset.iter_internal_ref_bundles():
            for reference, metadata in zip(bundle.block_refs, bundle.metadata, strict=True):
                at = 0
                while at < metadata.num_rows:
                    taken = min(rows - size, metadata.num_rows - at)
                    pieces.append((reference, at, at + taken))
                    at, size = at + taken, size + taken
                    if size == rows:
                        yield Chunk(number, first, tuple(pieces))
                        pieces, number, first, size = [], number + 1, first + size, 0
    if pieces:
        yield Chunk(number, first, tuple(pieces))


def each_chunk(
    dataset: Any,
    rows: int,
    work: Callable[..., Any],
    *arguments: Any,
    own: Callable[[Chunk], Any] | None = None,
    workers: int | None = None,
    tell: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Chunk, Any]]:
    """Call ``work(chunk, *arguments)`` for each chunk in a task, and yield results in order.

    Ray repeats a task whose worker dies. Arguments are sent once to each machine. Whoever does not
    take all results closes the generator, which ends the tasks.

    Parameters
    ----------
    own : callable, optional
        Given a chunk, returns one more argument; None leaves the chunk out.
    workers : int, optional
        Tasks that run at once; by default as many as there are CPUs.
    tell : callable
        Called while the tasks run.
    """
    ray = require_ray()
    limit = cpus() * _WAITING if workers is None else workers
    shared = [ray.put(argument) for argument in arguments]
    task = ray.remote(num_cpus=1)(_one_threaded)
    running: deque[tuple[Chunk, Any]] = deque()

    def result() -> tuple[Chunk, Any]:
        chunk, reference = running.popleft()
        while not ray.wait([reference], timeout=_TICK)[0]:
            tell()
        return chunk, get(reference)

    try:
        for chunk in chunks(dataset, rows):
            more = None if own is None else own(chunk)
            if own is not None and more is None:
                continue
            extra = () if own is None else (more,)
            running.append((chunk, task.remote(work, chunk, *shared, *extra)))
            if len(running) >= limit:
                yield result()
        while running:
            yield result()
    finally:
        for _, reference in running:  # after an error: no task goes on behind it
            ray.cancel(reference, force=True)


def _one_threaded(work: Callable[..., Any], chunk: Chunk, *arguments: Any) -> Any:
    _core.set_own_threads(1)
    return work(chunk, *arguments)


def get(reference: Any) -> Any:
    """Return the result of a task or an actor, or raise the error that happened there."""
    ray = require_ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
