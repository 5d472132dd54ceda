"""One writer and eight readers: every answer and every saved copy is one state of the index."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.trained import trained

import waterfill as wf

SECONDS = float(os.environ.get("WATERFILL_STRESS_SECONDS", "2"))
READERS = 8
N, D, K = 600, 32, 6
STEPS = 5  # of the writer in a turn
MARKER, EXTRA = 5_000_000, 7_000_000  # ids that come and go


class Scene:
    """An index in which the vector of an id is one of two, and a marker is there or not.

    The writer replaces vectors by their other version, adds and removes the marker and a batch of
    others, and merges. Whatever a reader sees must be possible at one moment.
    """

    def __init__(self, kind: str) -> None:
        rng = np.random.default_rng(3)
        self.versions = rng.standard_normal((2, N, D)).astype(np.float32)
        self.marker = np.full((1, D), 9, dtype=np.float32)
        training = np.concatenate([*self.versions, self.marker * rng.uniform(0, 1, (200, 1))])
        codec = trained(training.astype(np.float32), 16, cells=16)
        refine = None if kind == "codes" else "float32"
        self.index = wf.IndexIVF(codec, 16, refine=refine)
        self.index.nprobe = 16
        self.codec = codec
        self.exact = refine is not None
        self.index.add_with_ids(self.versions[0], np.arange(N))
        self.expected = (
            self.versions
            if self.exact
            else np.stack([self.index._decode(codec.encode(x)) for x in self.versions])
        )

    def shard(self) -> wf.IndexIVF:
        shard = wf.IndexIVF(self.codec, 16, refine=self.index.refine)
        shard.add_with_ids(self.versions[0][:50], np.arange(EXTRA, EXTRA + 50))
        return shard

    # What the writer does, step by step.

    def changes(self) -> Iterator[Callable[[], object]]:
        rng = np.random.default_rng(4)
        for turn in itertools.count():
            ids = rng.choice(N, 40, replace=False)
            yield lambda ids=ids, turn=turn: self.index.update_vectors(
                ids, self.versions[turn % 2][ids]
            )
            yield lambda: self.index.add_with_ids(self.marker, [MARKER])
            yield lambda: self.index.merge_from(self.shard())
            yield lambda: self.index.remove_ids(wf.IDSelectorRange(EXTRA, EXTRA + 50))
            yield lambda: self.index.remove_ids([MARKER])

    # What readers check.

    def possible(self, ids: np.ndarray, vectors: np.ndarray) -> bool:
        """Return whether each vector is a version of its id."""
        own = ids < N
        known = np.minimum(ids[own], N - 1)
        near = [np.isclose(vectors[own], x[known], atol=1e-5).all(1) for x in self.expected]
        return bool((near[0] | near[1]).all())

    def searched(self) -> None:
        queries = self.versions.reshape(-1, D)[::7]
        distances, ids, vectors = self.index.search_and_reconstruct(queries, K)
        assert (ids >= 0).all()
        products = np.einsum("qkd,qd->qk", vectors, queries)
        np.testing.assert_allclose(products, distances, rtol=1e-3, atol=1e-3)
        assert self.possible(ids.reshape(-1), vectors.reshape(-1, D))

    def one_state_per_call(self) -> None:
        queries = np.repeat(self.marker, 70_000, axis=0)  # 9 MB: more than one block
        found = self.index.search(queries, 1)[1][:, 0] == MARKER
        assert found.all() or not found.any()

    def reconstructed(self) -> None:
        ids = np.random.default_rng().permutation(N)[:100]
        assert self.possible(ids, self.index.reconstruct_batch(ids))  # none is ever missing

    def ranged(self) -> None:
        limits, _, ids = self.index.range_search(self.versions[0][:20], -1e9)
        counts = np.diff(limits.astype(int))
        assert (counts == counts[0]).all()
        assert counts[0] in (N, N + 1, N + 50, N + 51)
        assert len(np.unique(ids[: counts[0]])) == counts[0]

    def pickled(self) -> None:
        self.assert_whole(pickle.loads(pickle.dumps(self.index)))

    def copied(self) -> None:
        self.assert_whole(copy.deepcopy(self.index))

    def saved(self) -> None:
        with tempfile.NamedTemporaryFile(suffix=".wf") as file:
            wf.write_index(self.index, file.name)
            self.assert_whole(wf.read_index(file.name))

    def assert_whole(self, index: wf.IndexIVF) -> None:
        ids = index.ids()
        assert len(np.unique(ids)) == len(ids) == index.ntotal
        assert np.isin(np.arange(N), ids).all()
        assert self.possible(ids, index.reconstruct_n(0, index.ntotal))

    def listed(self) -> None:
        ids = self.index.ids()
        assert len(np.unique(ids)) == len(ids) >= N


@pytest.mark.parametrize("kind", ["codes", "rows"])
def test_readers_beside_a_writer_see_whole_states(kind):
    wf.set_num_threads(2)
    scene = Scene(kind)
    checks = [
        scene.searched,
        scene.one_state_per_call,
        scene.reconstructed,
        scene.ranged,
        scene.pickled,
        scene.copied,
        scene.saved,
        scene.listed,
    ]
    end = time.monotonic() + SECONDS
    failures: list[Exception] = []
    answers = [0] * READERS
    changes = 0
    enough = threading.Event()

    def reads(number: int) -> None:
        try:
            for turn in itertools.count(number):
                if enough.is_set() and answers[number] >= len(checks):
                    return
                checks[turn % len(checks)]()
                answers[number] += 1
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=reads, args=(i,)) for i in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        for change in scene.changes():
            change()
            changes += 1
            if changes >= 2 * STEPS and time.monotonic() > end:
                break
    finally:
        enough.set()
        for reader in readers:
            reader.join()
    assert not failures, failures[0]
    print(f"{sum(answers)} answers beside {changes} changes")


def test_searches_and_vectors_agree_while_positions_move(clustered):
    """Without explicit ids a removal renumbers all later vectors."""
    codec = trained(clustered, 7, cells=16)
    index = wf.IndexFlat(codec)
    index.add(clustered[:2000])
    end = time.monotonic() + SECONDS
    stop = threading.Event()

    def writes() -> None:
        while not stop.is_set():
            index.remove_ids([0])
            index.add(clustered[:1])

    writer = threading.Thread(target=writes)
    writer.start()
    try:
        while time.monotonic() < end:
            queries = clustered[500:540]
            distances, _, vectors = index.search_and_reconstruct(queries, 5)
            products = np.einsum("qkd,qd->qk", vectors, queries)
            np.testing.assert_allclose(products, distances, rtol=1e-3, atol=1e-2)
            index.ids()
            index.reconstruct_n(0, -1)
    finally:
        stop.set()
        writer.join()
