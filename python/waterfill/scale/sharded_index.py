"""`ShardedIndex`: a folder that several processes search, with the answers of one."""

from __future__ import annotations

import itertools
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from waterfill import _core
from waterfill._util.validation import as_number, as_positive_int
from waterfill.data.rows import FloatRows
from waterfill.folder.directory import log_name
from waterfill.folder.mixed_index import MixedIndex
from waterfill.folder.opening import open_index
from waterfill.folder.snapshot import read_manifest
from waterfill.index.vector_index import Labels
from waterfill.io import Path
from waterfill.scale.building import require_local
from waterfill.scale.cluster import cpus, require_ray
from waterfill.scale.replicas import Replicas
from waterfill.scale.scattered_core import ScatteredCore, scattered
from waterfill.scale.shard import Generation

if TYPE_CHECKING:
    from typing_extensions import Self

_ATTEMPTS = 10  # to open a folder whose writer replaces files meanwhile


class ShardedResult(NamedTuple):
    """What `ShardedIndex.search` found.

    Attributes
    ----------
    D : float32 (n, k)
        Best first, as of `IndexFlat.search`.
    I : int64 (n, k)
        Ids, as of `IndexFlat.search`.
    searched : float
        The share of the vectors that was searched; 1 unless the time was over.
    """

    D: FloatRows
    I: Labels  # noqa: E741
    searched: float

    @property
    def partial(self) -> bool:
        """Whether vectors were left out: neighbours may be missing."""
        return self.searched < 1


class ShardedIndex:
    """An index in a folder that Ray actors search, each a share of its segments.

    Answers are those of `waterfill.open_index` in one process, to the bit, whatever the numbers of
    actors and their deaths. It is made by `open`; use it in a ``with`` statement. Safe to search
    from several threads.
    """

    def __init__(self, state: _State, replicas: Replicas, options: dict[str, Any]) -> None:
        self._state, self._replicas, self._options = state, replicas, options
        self._refreshing = threading.Lock()

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse attributes that the index does not have: their value would have no effect."""
        if not name.startswith("_"):
            raise AttributeError(_missing(name))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_missing(name))

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        replicas: int = 1,
        shards: int | None = None,
        num_cpus: float = 1,
        nprobe: int | None = None,
        target_recall: float | None = None,
        k_factor: float | None = None,
    ) -> Self:
        """Start actors and let them open a folder.

        Parameters
        ----------
        folder : str or path-like
            On several machines, on a file system that all of them mount.
        replicas : int
            Actors for each share.
        shards : int, optional
            Shares, each of whole segments; by default one for each CPU that the replicas leave, at
            most as many as there are segments.
        num_cpus : float
            CPUs that Ray reserves for each actor.
        nprobe : int, optional
            As for `waterfill.open_index`.
        target_recall : float, optional
            As for `waterfill.open_index`.
        k_factor : float, optional
            As for `waterfill.open_index`.

        Returns
        -------
        ShardedIndex
            The open index; `close` it, or use it in a ``with`` statement.

        Raises
        ------
        FileNotFoundError, FormatError, OSError
            If the folder cannot be opened.
        ValueError, TypeError
            If an argument is invalid, or some vectors have codes of an older codec.
        """
        require_local(folder, "folder")
        replicas = as_positive_int("replicas", replicas)
        num_cpus = as_number("num_cpus", num_cpus, 0, finite=True)
        shares = None if shards is None else as_positive_int("shards", shards)
        path = os.path.abspath(os.fsdecode(os.fspath(folder)))
        options: dict[str, Any] = {
            "nprobe": nprobe,
            "target_recall": target_recall,
            "k_factor": k_factor,
        }
        with open_index(path, **options) as index:  # or an error, before anything is started
            segments = len(index.segments)
        if shares is None:
            shares = max(1, int(cpus() / (replicas * max(num_cpus, 1))))
        shares = min(shares, segments + 1)  # the log is one more
        actors = Replicas(shares, replicas, num_cpus)
        try:
            return cls(_prepared(path, options, actors), actors, options)
        except BaseException:
            actors.close()
            raise

    # What it holds.

    @property
    def ntotal(self) -> int:
        """Number of vectors."""
        return self._state.index.ntotal

    @property
    def d(self) -> int:
        """Number of dimensions."""
        return self._state.index.d

    @property
    def metric(self) -> str:
        """The metric."""
        return self._state.index.metric

    @property
    def path(self) -> str:
        """The folder."""
        return self._state.index.path

    @property
    def processes(self) -> list[int]:
        """Numbers of the actors' processes: those of all shares, for each replica."""
        return self._replicas.processes()

    # Search.

    def search(
        self, x: Any, k: int, *, params: Any = None, timeout: float | None = None
    ) -> ShardedResult:
        """Find the k nearest vectors of each query.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Queries.
        k : int
            At least 1; may exceed `ntotal`.
        params : SearchParameters, optional
            As for `IndexFlat.search` or `IndexIVF.search`.
        timeout : float, optional
            Seconds after which what has been found is returned. Without it, all vectors are
            searched: what an actor owes when it dies, another one does.

        Returns
        -------
        ShardedResult
            Distances, ids, and the share of the vectors that was searched. If that is 1, distances
            and ids are those of one process; otherwise, neighbours may be missing, and those that
            are there are right.

        Raises
        ------
        ValueError, TypeError
            As `IndexFlat.search`.
        TimeoutError
            Without `timeout`, if no actor lives for a minute.
        """
        deadline = None
        if timeout is not None:
            deadline = time.monotonic() + as_number("timeout", timeout, 0, finite=True)
        while True:
            state = self._state
            try:
                with state.used(self._replicas), scattered(self._replicas, deadline) as call:
                    distances, ids = state.index.search(x, k, params=params)
                return ShardedResult(distances, ids, state.searched(call.answered))
            except FileNotFoundError:
                # An actor that was started again needs files that the writer has removed since.
                if not self.refresh() and state is self._state:
                    raise

    def refresh(self) -> bool:
        """Take in what the writer of the folder has done since.

        Searches that run meanwhile see the state of before in all actors, later ones the new one.

        Returns
        -------
        bool
            Whether it has done anything.

        Raises
        ------
        FormatError, OSError
            If the folder is damaged or gone; the index stays as it was.
        """
        with self._refreshing:
            old = self._state
            if not old.is_outdated():
                return False
            self._state = _prepared(old.index.path, self._options, self._replicas)
            old.retire(self._replicas)
            return True

    def close(self) -> None:
        """End the actors."""
        self._replicas.close()
        self._state.index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _missing(name: str) -> str:
    """Return the message for an attribute that the index does not have."""
    if name in ("nprobe", "target_recall", "k_factor"):
        instead = f"give {name}= to ShardedIndex.open, or in params= to search"
    else:
        instead = "waterfill.open_index(folder) has what IndexFlat and IndexIVF have"
    return f"ShardedIndex has no attribute {name!r}; {instead}"


class _State:
    """A generation of the folder in this process, and the searches that use it."""

    def __init__(self, path: str, options: dict[str, Any], shares: int) -> None:
        self.index = open_index(path, **options)
        snapshot = self.index._snapshot
        if isinstance(snapshot.core, MixedIndex):
            raise ValueError(
                f"{path}: some vectors have codes of an older codec; call recode() on the index "
                "that is open for changes"
            )
        with open(os.path.join(path, log_name(snapshot.manifest.log)), "rb") as file:
            log = file.read(snapshot.log.offset)
        self._manifest, self._log_bytes = snapshot.manifest, len(log)
        self.generation = Generation(
            uuid.uuid4().hex, path, snapshot.manifest.to_bytes(), [require_ray().put(log)]
        )
        segments = [one.vectors for one in snapshot.manifest.segments]
        self._sizes = [*segments, max(0, snapshot.core.size - sum(segments))]  # the log's, too
        self.shares = _divided(self._sizes, shares)
        core = ScatteredCore(snapshot.core, self.generation, self.shares)
        self.index._core = cast("_core.Index", core)
        self._users, self._retired = 0, False
        self._lock = threading.Lock()

    def is_outdated(self) -> bool:
        """Whether the folder holds something else by now."""
        path = self.generation.path
        if read_manifest(path) != self._manifest:
            return True
        return os.path.getsize(os.path.join(path, log_name(self._manifest.log))) != self._log_bytes

    def searched(self, answered: set[int]) -> float:
        """Return the share of the vectors that some shares have."""
        if len(answered) == len(self.shares):
            return 1.0
        vectors = sum(sum(self._sizes[slice(*self.shares[share])]) for share in answered)
        return vectors / max(1, sum(self._sizes))

    @contextmanager
    def used(self, replicas: Replicas) -> Iterator[None]:
        """Keep the generation open in the actors."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
            self._forget_if_unused(replicas)

    def retire(self, replicas: Replicas) -> None:
        """Close the generation once no search uses it."""
        self._retired = True
        self._forget_if_unused(replicas)

    def _forget_if_unused(self, replicas: Replicas) -> None:
        with self._lock:
            if not self._retired or self._users:
                return
        replicas.forget(self.generation)


def _prepared(path: str, options: dict[str, Any], replicas: Replicas) -> _State:
    """Open what a folder holds now, here and in all actors."""
    for attempt in range(_ATTEMPTS):
        state = None
        try:
            state = _State(path, options, replicas.shares)
            replicas.prepare(state.generation)
            return state
        except FileNotFoundError:
            # A writer may have replaced the manifest and removed what the old one names.
            if attempt == _ATTEMPTS - 1 or (state is not None and not state.is_outdated()):
                raise
    raise AssertionError


def _divided(sizes: list[int], shares: int) -> list[tuple[int, int]]:
    """Divide parts into ranges of about equally many vectors; none of them is empty."""
    ends = np.cumsum(sizes)
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, shares) / shares, side="left") + 1
    bounds = np.unique([0, *cuts.tolist(), len(sizes)]).tolist()
    return list(itertools.pairwise(bounds))
