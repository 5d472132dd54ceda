"""Random histories of a folder, compared with a model after each step."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.folder_model import KINDS, Model, options_of, some_vectors

import waterfill as wf

STEPS = int(os.environ.get("WATERFILL_FOLDER_STEPS", "25"))
EXAMPLES = int(os.environ.get("WATERFILL_FOLDER_EXAMPLES", "8"))

IDS = st.lists(st.integers(0, 60), min_size=1, max_size=12)


class FolderMachine(RuleBasedStateMachine):
    """Adds, removes, upserts, flushes, merges, compacts, crashes and reopens, in any order."""

    kind = "flat"

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "a.wfx")
        self.index: Any = wf.open_index(self.path, "w", **self.options, **options_of(self.kind))
        self.model = Model(self.kind)
        self.reader: Any = None
        self.seen = self.model
        self.copies = 0

    @property
    def options(self) -> dict[str, Any]:
        return {"sync": "none", "compaction": "off"}

    @rule(ids=IDS, seed=st.integers(0, 10**6))
    def add_with_ids(self, ids: list[int], seed: int) -> None:
        x = some_vectors(len(ids), seed)
        self.index.add_with_ids(x, ids)
        self.model.add(ids, x)

    @rule(n=st.integers(1, 80), seed=st.integers(0, 10**6))
    def add(self, n: int, seed: int) -> None:
        x = some_vectors(n, seed)
        self.index.add(x)
        self.model.add(range(self.model.next_id, self.model.next_id + n), x)

    @rule(ids=IDS, seed=st.integers(0, 10**6))
    def upsert(self, ids: list[int], seed: int) -> None:
        ids = sorted(set(ids))
        x = some_vectors(len(ids), seed)
        self.index.upsert(ids, x)
        self.model.upsert(ids, x)

    @rule(ids=IDS)
    def remove(self, ids: list[int]) -> None:
        assert self.index.remove_ids(np.array(ids)) == self.model.remove(ids)

    @rule(first=st.integers(0, 200), n=st.integers(1, 100))
    def remove_range(self, first: int, n: int) -> None:
        removed = self.index.remove_ids(wf.IDSelectorRange(first, first + n))
        assert removed == self.model.remove(range(first, first + n))

    @rule()
    def flush(self) -> None:
        self.index.flush()

    @rule()
    def compact(self) -> None:
        self.index.compact()
        assert len(self.index.segments) <= 1
        assert sum(one["removed"] for one in self.index.segments) == 0

    @precondition(lambda self: self.index.segments)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        """Merge some neighbouring segments, as the background does."""
        segments = len(self.index.segments)
        first = data.draw(st.integers(0, segments - 1))
        last = data.draw(st.integers(first + 1, segments))
        with self.index._merging:
            self.index._merge((first, last))
        assert len(self.index.segments) <= segments - (last - first) + 2  # and one of the log

    @rule()
    def reset(self) -> None:
        self.index.reset()
        self.model.remove(self.model.ids)

    @rule(verify=st.sampled_from(["header", "full"]))
    def reopen(self, verify: str) -> None:
        self.index.close()
        self.index = wf.open_index(self.path, "a", verify=verify, **self.options)

    @rule(torn=st.binary(max_size=40).filter(lambda b: not b or b.strip(b"\0")))
    def crash(self, torn: bytes) -> None:
        """The process ends as it is, in the middle of writing a record."""
        number = self.index._snapshot.manifest.log
        self.index._lock.release()
        record = bytes.fromhex("01000000010000004000000000000000")[: len(torn) // 2]
        with open(os.path.join(self.path, f"log-{number:06}.wfl"), "ab") as log:
            log.write(record)
        self.index = wf.open_index(self.path, "a", **self.options)

    @rule()
    def snapshot(self) -> None:
        self.copies += 1
        path = os.path.join(self.folder, f"copy-{self.copies}.wfx")
        self.index.snapshot(path)
        copy = wf.open_index(path, verify="full")
        self.model.check(copy)
        with wf.open_index(path, "a", **self.options) as changed:  # the original stays
            changed.remove_ids(wf.IDSelectorAll())
            changed.add(some_vectors(3, 5))
            changed.compact()
        shutil.rmtree(path)
        self.model.check(copy)

    @rule()
    def open_reader(self) -> None:
        self.reader, self.seen = wf.open_index(self.path), self.model.copy()

    @precondition(lambda self: self.reader is not None)
    @rule()
    def refresh(self) -> None:
        self.reader.refresh()
        self.seen = self.model.copy()

    @invariant()
    def same(self) -> None:
        self.model.check(self.index)
        if self.reader is not None:
            self.seen.check(self.reader)

    def teardown(self) -> None:
        self.index.close()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize("kind", KINDS)
def test_any_history_gives_what_a_model_holds(kind: str) -> None:
    machine = type("Machine", (FolderMachine,), {"kind": kind}).TestCase
    machine.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
