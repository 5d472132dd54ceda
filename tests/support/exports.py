"""Exported indexes, taken apart and checked against the documented score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from support import trained
from support.numpy_reference import Reference

import waterfill as wf

faiss = pytest.importorskip("faiss")

K = 10


def nearest(x: np.ndarray, q: np.ndarray, metric: str) -> np.ndarray:
    scores = q @ x.T
    if metric == "l2":
        scores = 2 * scores - np.square(x).sum(axis=1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    return float(
        np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, exact, strict=True)])
    )


def empty(x: np.ndarray, metric: str, code_bytes: int, cells: int = 0) -> wf.IndexFlat:
    plan = wf.Plan.waterfill(wf.analyze(x, normalize=metric == "cosine"), code_bytes=code_bytes)
    return wf.IndexFlat(trained.train(x, plan, cells=cells, effort="fast"), metric)


def filled(x: np.ndarray, metric: str, code_bytes: int, cells: int = 0) -> wf.IndexFlat:
    index = empty(x, metric, code_bytes, cells)
    index.add(x)
    return index


@dataclass
class Parts:
    """The stock objects inside an export, and what they hold of the vectors by label."""

    inner: object
    books: np.ndarray
    codes: np.ndarray
    matrix: np.ndarray


def positions(ids: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the position of each key in `ids`."""
    order = np.argsort(ids, kind="stable")
    return order[np.searchsorted(ids[order], keys)]


def take_apart(made: object, ids: np.ndarray | None = None) -> Parts:
    """Return the parts of an export, codes in the order of `ids`, by default ascending."""
    mapped = isinstance(made, faiss.IndexIDMap2)
    outer = faiss.downcast_index(made.index) if mapped else made
    inner = faiss.downcast_index(outer.index)
    transform = faiss.downcast_VectorTransform(outer.chain.at(outer.chain.size() - 1))
    matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
    pq = inner.pq
    books = faiss.vector_to_array(pq.centroids).reshape(pq.M, 256, pq.dsub)
    if isinstance(inner, faiss.IndexIVFPQ):
        assert not mapped
        lists = inner.invlists
        sizes = [lists.list_size(i) for i in range(lists.nlist)]
        have, codes = [np.zeros(0, np.int64)], [np.zeros((0, pq.M), np.uint8)]
        for i in np.flatnonzero(sizes).tolist():
            have.append(faiss.rev_swig_ptr(lists.get_ids(i), sizes[i]).copy())
            own = faiss.rev_swig_ptr(lists.get_codes(i), sizes[i] * pq.M).copy()
            codes.append(own.reshape(-1, pq.M))
        found, stored = np.concatenate(have), np.concatenate(codes)
    else:
        stored = faiss.vector_to_array(inner.codes).reshape(made.ntotal, pq.M)
        found = faiss.vector_to_array(made.id_map) if mapped else np.arange(made.ntotal)
    stored = stored[positions(found, np.sort(found) if ids is None else ids)]
    return Parts(inner, books, stored, matrix)


def probe_all_lists(made: object) -> object:
    """Set `nprobe` to the number of lists, where there are lists."""
    inner = take_apart(made).inner
    if isinstance(inner, faiss.IndexIVFPQ):
        inner.nprobe = inner.nlist
    return made


def documented(index: wf.IndexFlat, parts: Parts, queries: np.ndarray, offsets: bool) -> np.ndarray:
    """The score of every query and vector, from the codec's arrays and two parts of the file.

    These are the common scale of all directions, and the values of the last byte.
    """
    reference = Reference.of(index.codec)
    codes = index.codes()
    l2 = index.metric == "l2"
    u = (reference.decoded(codes) / reference.weights) @ reference.basis
    q = queries.astype(np.float64)
    if index.metric == "cosine":
        q /= np.linalg.norm(q, axis=1, keepdims=True)
    levels = parts.books[-1, :, 0].astype(np.float64)
    added = levels[parts.codes[:, -1]] if offsets else np.zeros(len(codes))
    points = reference.origins(codes) + common_scale(reference, parts) * u
    if not l2:
        return q @ points.T + added
    distances = np.square(q[:, None] - points[None]).sum(axis=2)
    return distances + added**2 + cell_offsets(index, parts)


def cell_offsets(index: wf.IndexFlat, parts: Parts) -> np.ndarray:
    """The part of each vector's L2 offset that its centroid holds, in a coordinate of its own."""
    if not index.codec.cells:
        return np.zeros(index.ntotal)
    stored = parts.inner.quantizer.reconstruct_n(0, index.codec.cells).astype(np.float64)
    reference = Reference.of(index.codec)
    outside = stored - reference.centroids @ parts.matrix.T.astype(np.float64)
    return np.square(outside).sum(axis=1)[reference.numbers(index.codes())]


def common_scale(reference: Reference, parts: Parts) -> float:
    """The factor of all directions, from the codebook of a group without second bytes."""
    second = {column for rest in reference.rests for column in rest}
    without_second = [second.isdisjoint(range(s.start, s.stop)) for s in reference.slices()]
    g = without_second.index(True)
    rows = reference.slices()[g]
    exported = parts.books[g, :, : rows.stop - rows.start].astype(np.float64)
    native = (reference.books[rows] / reference.weights[rows, None]).T
    exported, native = exported - exported.mean(axis=0), native - native.mean(axis=0)
    return float((exported * native).sum() / (native * native).sum())


def check_scores(index: wf.IndexFlat, made: object, queries: np.ndarray) -> None:
    ids = index.ids()
    parts = take_apart(probe_all_lists(made), ids)
    offsets = parts.codes.shape[1] > index.codec._core.groups
    want = documented(index, parts, queries, offsets)
    distances, found = made.search(queries, index.ntotal)
    got = np.stack([d[positions(f, ids)] for d, f in zip(distances, found, strict=True)])
    # Relative to the score, or where terms cancel out to a twentieth of the largest.
    size = np.abs(want).max(axis=1, keepdims=True)
    assert (np.abs(got - want) <= 1e-4 * np.maximum(np.abs(want), 0.05 * size)).all()
