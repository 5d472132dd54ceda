"""Pairs of indexes to be held against each other: ours, and FAISS's with our decoded vectors.

And what both of a pair are told alike: vectors of one pool, selectors as trees. `Shadow` is a third
account of what is in them, kept in NumPy.
"""

from __future__ import annotations

import functools

import faiss
import numpy as np
from hypothesis import strategies as st

import waterfill as wf

D = 16
NLIST = 6
KINDS = ("flat", "ids", "lists")
METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}


@functools.cache
def pool() -> np.ndarray:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((1200, D)) * np.geomspace(3, 0.2, D) + rng.normal(size=D)
    return (x * rng.uniform(0.5, 2, size=(1200, 1))).astype(np.float32)


@functools.cache
def trained(kind: str, metric: str) -> tuple[wf.Codec, bytes]:
    """A codec, and for lists the quantizer that it goes with."""
    recipe = wf.Recipe(D, 6)
    if kind != "lists":
        return recipe.train(pool(), metric), b""
    cells = faiss.IndexFlat(D, METRICS[metric])
    cells.add(wf.Codec.train(pool(), wf.Plan.waterfill(wf.analyze(pool()), 6), cells=NLIST)
              ._core.arrays["centroids"])  # fmt: skip
    index = wf.IndexIVF(recipe, NLIST, cells, metric=metric)
    index.train(pool())
    return index.codec, faiss.serialize_index(cells).tobytes()


def new_pair(kind: str, metric: str):
    """Ours, searched exhaustively in the full score, and FAISS's."""
    codec, cells = trained(kind, metric)
    if kind == "lists":
        quantizer = faiss.deserialize_index(np.frombuffer(cells, np.uint8))
        ours = wf.IndexIVF(codec, NLIST, quantizer, metric=metric)
        peer = faiss.IndexIVFFlat(quantizer, D, NLIST, METRICS[metric])
        peer.is_trained = True
        peer.nprobe = ours.nprobe = NLIST
    else:
        ours = wf.IndexFlat(codec, metric)
        peer = faiss.IndexFlat(D, METRICS[metric])
        if kind == "ids":
            peer = faiss.IndexIDMap2(peer)
    return exhaustive(ours), peer


def exhaustive(index):
    index.refine_factor = 10**6
    index.prune_sigma = float("inf")
    return index


class Shadow:
    """Ids and decoded vectors in the order of arrival."""

    def __init__(self):
        self.ids = np.empty(0, np.int64)
        self.vectors = np.empty((0, D), np.float32)

    def scores(self, q, metric):
        q, v = q.astype(np.float64), self.vectors.astype(np.float64)
        if metric == "ip":
            return q @ v.T
        return np.square(q[:, None] - v[None]).sum(axis=2)

    def unique(self):
        """Ids that one vector has."""
        ids, count = np.unique(self.ids, return_counts=True)
        return ids[count == 1]


# Selectors as both understand them: (name, arguments).
ids_near = st.integers(-30, 400)
selector_trees = st.recursive(
    st.one_of(
        st.tuples(st.just("Range"), ids_near, ids_near),
        st.tuples(st.just("Array"), st.lists(ids_near, max_size=40)),
        st.tuples(st.just("Batch"), st.lists(ids_near, max_size=40)),
        st.tuples(st.just("Bitmap"), st.lists(st.integers(0, 255), max_size=30)),
        st.tuples(st.just("All")),
    ),
    lambda inner: st.one_of(
        st.tuples(st.just("Not"), inner),
        st.tuples(st.sampled_from(["And", "Or", "XOr"]), inner, inner),
    ),
    max_leaves=5,
)


def selector(module, tree):
    name, *args = tree
    if name in ("Array", "Batch"):
        args = [np.array(args[0], dtype=np.int64)]
    elif name == "Bitmap":
        args = [np.array(args[0], dtype=np.uint8)]
    elif name in ("Not", "And", "Or", "XOr"):
        args = [selector(module, arg) for arg in args]
    return getattr(module, f"IDSelector{name}")(*args)
