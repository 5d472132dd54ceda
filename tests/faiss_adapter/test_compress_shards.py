"""Compressing FAISS indexes that are searched as one: shards and replicas."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

import waterfill as wf

D, N = 20, 900


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(1)
    return (rng.standard_normal((N, D)) * np.geomspace(3, 0.3, D)).astype(np.float32)


def sharded(kind, *shards, successive=True):
    index = kind(D, False, successive) if kind is faiss.IndexShards else kind(D)
    for shard in shards:  # these methods keep references
        (index.add_shard if kind is faiss.IndexShards else index.addIndex)(shard)
    return index


def flat(x, ids=None):
    index = faiss.IndexFlatL2(D)
    if ids is not None:
        index = faiss.IndexIDMap2(index)
        index.add_with_ids(x, ids)
    else:
        index.add(x)
    return index


def compressed(index, **options):
    return wf.compress(index, 10, effort="fast", **options)


def check_same(made, x, ids=None):
    """The index is the one that the vectors make without shards, also its ids."""
    alone = compressed(flat(x, ids))
    assert made.codec.fingerprint == alone.codec.fingerprint
    np.testing.assert_array_equal(made.ids(), alone.ids())
    np.testing.assert_array_equal(made.reconstruct_n(), alone.reconstruct_n())


def test_shards_become_one_index(x):
    made = compressed(sharded(faiss.IndexShards, flat(x[:300]), flat(x[300:350]), flat(x[350:])))
    assert type(made) is wf.IndexFlat
    check_same(made, x)


def test_a_sample_of_shards_is_of_all_of_them(x, monkeypatch):
    monkeypatch.setattr("waterfill.faiss.stored_index._SAMPLE_ROWS", 500)
    index = sharded(faiss.IndexShards, flat(x[:300]), flat(x[300:]))
    from waterfill.faiss.stored_vectors import stored_vectors

    sample = stored_vectors(index).sample(0)
    assert sample.shape == (500, D)
    rows = {row.tobytes(): number for number, row in enumerate(x)}
    numbers = [rows[row.tobytes()] for row in sample]
    assert numbers == sorted(set(numbers))
    assert numbers[0] < 300 < numbers[-1]


def test_shards_with_ids_of_their_own_keep_them(x):
    ids = np.random.default_rng(0).permutation(10**6)[:N]
    shards = [flat(x[:400], ids[:400]), flat(x[400:], ids[400:])]
    check_same(compressed(sharded(faiss.IndexShards, *shards, successive=False)), x, ids)


def test_ids_that_two_shards_have_are_refused(x):
    index = sharded(faiss.IndexShards, flat(x[:400]), flat(x[400:]), successive=False)
    with pytest.raises(ValueError, match="shards with ids of their own, got the same id"):
        compressed(index)


def test_shards_of_one_partition_keep_its_lists(x):
    empty = faiss.index_factory(D, "IVF8,Flat")
    empty.train(x)
    shards = []
    for rows in (x[:400], x[400:]):
        shards.append(faiss.clone_index(empty))
        shards[-1].add(rows)
        shards[-1].nprobe = 3
    made = compressed(sharded(faiss.IndexShards, *shards))
    assert (made.nlist, made.nprobe) == (8, 3)
    assert sorted(made.ids()) == list(range(N))
    np.testing.assert_allclose(made.search(x[:50], 1)[1][:, 0], np.arange(50), atol=0)


def test_shards_with_lists_of_their_own_get_as_many_new_ones(x):
    shards = []
    for rows in (x[:400], x[400:]):
        shards.append(faiss.index_factory(D, "IVF4,Flat"))
        shards[-1].train(rows)
        shards[-1].add(rows)
    made = compressed(sharded(faiss.IndexShards, *shards))
    assert (made.nlist, made.nprobe) == (8, 2)
    assert sorted(made.ids()) == list(range(N))


def test_codes_in_shards_are_decoded_with_a_warning(x):
    coded = faiss.index_factory(D, "SQ8")
    coded.train(x)
    coded.add(x[500:])
    index = sharded(faiss.IndexShards, flat(x[:500]), coded)
    with pytest.warns(RuntimeWarning, match="IndexScalarQuantizer keeps codes of 20 bytes"):
        made = compressed(index)
    assert made.ntotal == N
    check_same(compressed(index, rows=x), x)


def test_of_replicas_one_is_read(x):
    check_same(compressed(sharded(faiss.IndexReplicas, flat(x), flat(x))), x)


@pytest.mark.parametrize("kind", [faiss.IndexShards, faiss.IndexReplicas])
def test_empty_ones_are_refused(kind):
    with pytest.raises(ValueError, match="index has no vectors"):
        compressed(sharded(kind))


def test_shards_that_cannot_decode_are_refused(x):
    signs = faiss.IndexLSH(D, 16)
    signs.add(x[:10])
    with pytest.raises(TypeError, match="IndexLSH keeps signs"):
        compressed(sharded(faiss.IndexShards, flat(x[10:]), signs))
