"""The same random operations on a FAISS index of our decoded vectors, and on ours.

Ids, their order and distances must agree at every step, ties aside, and so must shapes, dtypes and
the types of errors.
"""

from __future__ import annotations

import pickle

import faiss
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.faiss_twins import (
    KINDS,
    METRICS,
    NLIST,
    D,
    Shadow,
    exhaustive,
    ids_near,
    new_pair,
    pool,
    selector,
    selector_trees,
)

import waterfill as wf

batches = st.tuples(st.integers(0, 1150), st.integers(0, 50))
questions = st.tuples(st.integers(0, 1190), st.integers(0, 4))
counts = st.integers(1, 60)


def rows(part):
    return pool()[part[0] : part[0] + part[1]]


class Machine(RuleBasedStateMachine):
    def __init__(self, kind, metric):
        super().__init__()
        self.kind, self.metric = kind, metric
        self.ours, self.peer = new_pair(kind, metric)
        self.shadow = Shadow()
        self.next_id = 0  # of ids that the test chooses
        self.next_own = 0  # of vectors without ids

    # What both must say.

    @invariant()
    def they_hold_the_same(self):
        ours, peer = self.ours, self.peer
        assert ours.ntotal == peer.ntotal == len(self.shadow.ids)
        assert (ours.d, ours.is_trained, ours.metric_type) == (
            peer.d, peer.is_trained, peer.metric_type
        )  # fmt: skip
        np.testing.assert_array_equal(np.sort(ours.ids()), np.sort(self.shadow.ids))

    def agree(self, q, ours, theirs, member=None):
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
        (distances, ids), (want, want_ids) = ours[:2], theirs[:2]
        missing = want_ids == -1
        np.testing.assert_array_equal(ids == -1, missing)
        np.testing.assert_array_equal(distances[missing], want[missing])
        scores = self.shadow.scores(q, self.metric)
        near = 1e-4 * max(1, np.abs(scores).max(initial=0))
        np.testing.assert_allclose(distances[~missing], want[~missing], rtol=1e-4, atol=near)
        self.own_scores(ids, distances, scores, near, member)
        # Where ids differ, both have the place's distance: a tie.

    def own_scores(self, ids, distances, scores, near, member):
        """Every id that was found has the distance that was given, and stands there once."""
        for row, (found, values) in enumerate(zip(ids, distances, strict=True)):
            found, values = found[found != -1], values[found != -1]
            for number in set(found.tolist()):
                has = np.sort(scores[row, self.shadow.ids == number])
                got = np.sort(values[found == number])
                assert len(got) <= len(has)
                assert all(np.abs(has - value).min() <= near for value in got)
                assert member is None or member(number)

    def parameters(self, tree, nprobe):
        """FAISS's parameters, ours, and what is_member says."""
        sel, mine = selector(faiss, tree), selector(wf, tree)
        if self.kind != "lists":
            # IndexFlat takes a bare Range or Array for rows that it has, and reads beyond them.
            held = faiss.IDSelectorAnd(sel, faiss.IDSelectorAll())
            theirs = faiss.SearchParameters(sel=held)
            return theirs, wf.SearchParameters(sel=mine), sel.is_member
        theirs = faiss.SearchParametersIVF(sel=sel, nprobe=nprobe)
        return theirs, wf.SearchParameters(sel=mine, nprobe=nprobe), sel.is_member

    # What changes them.

    def note(self, x, ids):
        codec = self.ours.codec
        decoded = self.ours.sa_decode(self.ours.sa_encode(x))
        assert decoded.shape == (len(x), D)
        if self.kind != "lists":
            np.testing.assert_array_equal(
                decoded, codec.decode(codec.encode(x), alpha=codec.alpha[self.metric])
            )
        self.shadow.ids = np.append(self.shadow.ids, ids)
        self.next_own = int(max(self.next_own, len(self.shadow.ids), *(ids + 1)))
        self.shadow.vectors = np.vstack([self.shadow.vectors, decoded])
        return decoded

    def add_to_peer(self, peer, x, decoded, ids):
        if self.kind == "flat":
            peer.add(decoded)
        elif self.kind == "ids":
            peer.add_with_ids(decoded, ids)
        elif len(x):
            # In the lists that x belongs to: what it decodes to may be nearer to another's centre.
            lists = np.ascontiguousarray(peer.quantizer.search(x, 1)[1][:, 0])
            ids = np.ascontiguousarray(ids, dtype=np.int64)
            peer.add_core(*(len(x), *map(faiss.swig_ptr, (decoded, ids, lists))))

    def fresh_ids(self, n, spread):
        ids = (self.next_id + np.arange(n, dtype=np.int64)) * spread - 20
        self.next_id += n
        return np.where(ids == -1, 10**6 + ids + self.next_id, ids)

    @rule(part=batches, spread=st.integers(1, 4), as_codes=st.booleans())
    def add(self, part, spread, as_codes):
        x = rows(part)
        own = self.kind == "ids"
        ids = self.fresh_ids(len(x), spread) if own else self.next_own + np.arange(len(x))
        decoded = self.note(x, ids)
        if as_codes:
            self.ours.add_sa_codes(self.ours.sa_encode(x), *([ids] if own else []))
        elif own:
            self.ours.add_with_ids(x, ids)
        else:
            self.ours.add(x)
        self.add_to_peer(self.peer, x, decoded, ids)

    @rule(part=batches, ids=st.lists(st.integers(-30, 400), max_size=50))
    def add_with_any_ids(self, part, ids):
        ids = np.array([number for number in ids if number != -1], dtype=np.int64)
        x = rows(part)[: len(ids)]
        ids = ids[: len(x)]
        if self.kind == "flat":
            return  # FAISS's has none, ours would have them from here on
        self.ours.add_with_ids(x, ids)
        self.add_to_peer(self.peer, x, self.note(x, ids), ids)

    def forget(self, gone):
        self.shadow.ids = self.shadow.ids[~gone]
        self.shadow.vectors = self.shadow.vectors[~gone]
        if self.kind == "flat":
            self.shadow.ids = np.arange(len(self.shadow.ids))
            self.next_own = len(self.shadow.ids)

    @rule(ids=st.lists(ids_near, max_size=40))
    def remove_array(self, ids):
        ids = np.array(ids, dtype=np.int64)
        assert self.ours.remove_ids(ids) == self.peer.remove_ids(ids)
        self.forget(np.isin(self.shadow.ids, ids))

    @rule(tree=selector_trees, theirs=st.booleans())
    def remove_selected(self, tree, theirs):
        sel = selector(faiss, tree)
        gone = np.array([sel.is_member(int(i)) for i in self.shadow.ids], dtype=bool)
        mine = sel if theirs else selector(wf, tree)
        assert self.ours.remove_ids(mine) == self.peer.remove_ids(sel) == gone.sum()
        self.forget(gone)

    @rule(part=batches, add_id=st.integers(0, 500))
    def merge(self, part, add_id):
        x = rows(part)
        ours, peer = new_pair(self.kind, self.metric)
        ids = np.arange(len(x))
        if self.kind == "ids":
            ours.add_with_ids(x, ids)
        else:
            ours.add(x)
        # FAISS numbers flat vectors on, and gives ids twice where ours numbers on or refuses.
        given = self.kind == "ids" or (self.kind == "lists" and add_id)
        shift = add_id if given else self.next_own
        extra = [] if self.kind == "flat" else [add_id]
        if given and np.isin(ids + shift, self.shadow.ids).any():
            with pytest.raises(ValueError, match="is already in this index"):
                self.ours.merge_from(ours, *extra)
            assert ours.ntotal == len(x)
            return
        self.add_to_peer(peer, x, self.note(x, ids + shift), ids)
        self.ours.merge_from(ours, *extra)
        self.peer.merge_from(peer, *([shift] if extra else []))
        assert ours.ntotal == peer.ntotal == 0

    @rule()
    def reset(self):
        self.ours.reset()
        self.peer.reset()
        self.shadow = Shadow()
        self.next_own = 0

    @rule()
    def copy(self):
        self.ours = exhaustive(pickle.loads(pickle.dumps(self.ours)))

    # What looks things up.

    @rule(part=questions, k=counts, nprobe=st.integers(1, NLIST), given=st.booleans())
    def search(self, part, k, nprobe, given):
        q = rows(part)
        if self.kind == "lists":
            self.ours.nprobe = self.peer.nprobe = nprobe
        out = {}
        if given:
            out = {
                "D": np.full((len(q), k), 7, np.float32),
                "I": np.full((len(q), k), 7, np.int64),
            }
        found = self.ours.search(q, k, **out)
        assert not given or (found[0] is out["D"] and found[1] is out["I"])
        self.agree(q, found, self.peer.search(q, k))
        labels, want = self.ours.assign(q, k), self.peer.assign(q, k)
        assert (labels.shape, labels.dtype) == (want.shape, want.dtype)
        np.testing.assert_array_equal(labels, found[1])

    @rule(part=questions, k=counts, tree=selector_trees, as_faiss=st.booleans())
    def search_selected(self, part, k, tree, as_faiss):
        q = rows(part)
        # All lists: with a selector ours goes on to others where the nearest have too few members.
        theirs, mine, member = self.parameters(tree, NLIST)
        found = self.ours.search(q, k, params=theirs if as_faiss else mine)
        self.agree(q, found, self.peer.search(q, k, params=theirs), member)

    @rule(part=questions, rank=st.floats(0, 1), tree=st.none() | selector_trees)
    def range_search(self, part, rank, tree):
        q = rows(part)
        scores = self.shadow.scores(q, self.metric)
        thresh = float(np.quantile(scores, rank)) if scores.size else 1.0
        theirs, mine, member = None, None, lambda i: True
        if self.kind == "lists":
            self.ours.nprobe = self.peer.nprobe = NLIST
        if tree is not None:
            theirs, mine, member = self.parameters(tree, NLIST)
        ours = self.ours.range_search(q, thresh, params=mine)
        want = self.peer.range_search(q, thresh, params=theirs)
        assert ours[0].shape == want[0].shape
        assert [a.dtype for a in ours] == [np.uint64, np.float32, np.int64]
        if len(q):  # without queries FAISS gives I as float32
            assert [a.dtype for a in ours] == [a.dtype for a in want]
        near = 1e-4 * max(1, np.abs(scores).max(initial=0))
        for i in range(len(q)):
            a, b = (
                (r[1][int(r[0][i]) : int(r[0][i + 1])], r[2][int(r[0][i]) : int(r[0][i + 1])])
                for r in (ours, want)
            )
            assert len(a[1]) == len(a[0])
            self.own_scores(a[1][None], a[0][None], scores[i : i + 1], near, member)
            inside = [part[1][np.abs(part[0] - thresh) > 2 * near] for part in (a, b)]
            np.testing.assert_array_equal(*map(np.sort, inside))

    @rule(part=questions, k=counts)
    def search_and_reconstruct(self, part, k):
        q = rows(part)
        if self.kind == "lists":
            self.ours.nprobe = self.peer.nprobe = NLIST
        ours = self.ours.search_and_reconstruct(q, k)
        self.agree(q, ours, self.peer.search_and_reconstruct(q, k))
        unique = set(self.shadow.unique().tolist())
        for found, vectors in zip(ours[1], ours[2], strict=True):
            for number, vector in zip(found, vectors, strict=True):
                if int(number) in unique:
                    at = int(np.flatnonzero(self.shadow.ids == number)[0])
                    np.testing.assert_array_equal(vector, self.shadow.vectors[at])

    @rule(seed=st.integers(0, 10**6), n=st.integers(0, 40))
    def reconstruct(self, seed, n):
        unique = self.shadow.unique()
        if len(unique) == 0:
            return
        keys = np.random.default_rng(seed).choice(unique, n)
        at = [int(np.flatnonzero(self.shadow.ids == key)[0]) for key in keys]
        batch = self.ours.reconstruct_batch(keys)
        assert (batch.shape, batch.dtype) == ((n, D), np.float32)
        np.testing.assert_array_equal(batch, self.shadow.vectors[at])
        if self.kind != "lists":  # FAISS's needs a map, with which it cannot remove
            np.testing.assert_array_equal(batch, self.peer.reconstruct_batch(keys))
        for key, vector in zip(keys[:3], batch, strict=False):
            out = np.zeros(D, np.float32)
            assert self.ours.reconstruct(int(key), out) is out
            np.testing.assert_array_equal(out, vector)
            np.testing.assert_array_equal(self.ours.reconstruct(int(key)), vector)

    @rule(ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def reconstruct_n(self, ends):
        n = self.ours.ntotal
        first, last = (int(end * n) for end in sorted(ends))
        for args in ((), (first,), (first, last - first)):
            ours = self.ours.reconstruct_n(*args)
            assert ours.dtype == np.float32
            if self.kind == "flat":
                np.testing.assert_array_equal(ours, self.peer.reconstruct_n(*args))

    @rule()
    def errors_are_of_the_same_types(self):
        x = pool()[:2]
        calls = [
            lambda index: index.search(x[:, :9], 3),
            lambda index: index.add(x[:, :9]),
            lambda index: index.range_search(x[:, :9], 3.0),
            lambda index: index.search(x, 0),
            lambda index: index.search(x, -2),
            lambda index: index.search(x, 2.0),
            lambda index: index.search(x[0], 3),
            lambda index: index.search(x, 3, D=np.zeros((2, 2), np.float32)),
            lambda index: index.search(x, 3, I=np.zeros((2, 3), np.int32)),
            lambda index: index.search(x, 3, params=4),
            lambda index: index.search_and_reconstruct(x, 3, R=np.zeros((2, 3), np.float32)),
            lambda index: index.reconstruct(10**7),
            lambda index: index.reconstruct_batch([10**7]),
            lambda index: index.reconstruct(1.0),
            lambda index: index.remove_ids(np.array([[1]])),
            lambda index: index.sa_encode(x[:, :9]),
        ]
        if self.kind != "flat":
            calls.append(lambda index: index.add_with_ids(x, np.array([1, 2, 3])))
        if self.kind == "flat":
            calls.append(lambda index: index.reconstruct_n(0, index.ntotal + 1))
        for call in calls:
            with pytest.raises(Exception) as theirs:  # noqa: PT011
                call(self.peer)
            with pytest.raises(theirs.type):
                call(self.ours)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_operations_agree_with_faiss(kind, metric):
    run_state_machine_as_test(
        lambda: Machine(kind, metric), settings=settings(stateful_step_count=20)
    )
