"""The sections of format 1.5 that follow from others, computed anew with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST_ID = 2**63 - 1


def check_lists(bodies: dict[str, Any], lists: list[np.ndarray]) -> None:
    """Compare section LISTS and the labels with the lists that LISTOF gives."""
    scale = np.frombuffer(bodies["SCALE"].values, np.uint8)
    extra = np.frombuffer(bodies["EXTRA"].values, np.uint8)
    records = bodies["LISTS"].records
    assert len(records) == len(lists)
    row = 0
    for number, (record, labels) in enumerate(zip(records, lists, strict=True)):
        own = slice(row, row + len(labels))
        row += len(labels)
        assert record.num_vectors == len(labels)
        assert (record.scale_least, record.scale_largest) == _range(scale[own])
        assert (record.extra_least, record.extra_largest) == _range(extra[own])
        if len(lists) == 1:
            assert record.num_words == 0
        else:
            _check_labels(bodies, number, labels, bits=16 if len(lists) > 2048 else 8)
    several = {"LABLOW", "LABBITS", "LABSAMP"}
    assert several & set(bodies) == (several if len(lists) > 1 else set())


def _range(values: np.ndarray) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if len(values) else (255, 0)


def _check_labels(bodies: dict[str, Any], number: int, labels: np.ndarray, bits: int) -> None:
    """Decode one list of Elias-Fano coding."""
    low = np.array(bodies["LABLOW"].lists[number].values, int)
    words = np.array(bodies["LABBITS"].lists[number].values, np.uint64)
    ones = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
    assert len(ones) == len(labels)
    assert len(words) == (0 if len(ones) == 0 else ones[-1] // 64 + 1)
    np.testing.assert_array_equal(low + (ones - np.arange(len(ones)) << bits), labels)
    np.testing.assert_array_equal(bodies["LABSAMP"].lists[number].values, ones[::64])


def check_ids(bodies: dict[str, Any], *, consecutive: bool) -> np.ndarray:
    """Compare section IDINFO with the ids and return these; consecutive: if form 0 may occur."""
    n = bodies["INDEX"].num_vectors
    if "IDINFO" not in bodies:
        assert "IDS" not in bodies
        return np.arange(n)
    info = bodies["IDINFO"]
    form = info.form.name
    assert ("IDS" in bodies) == (form != "consecutive")
    assert ("IDORDER" in bodies) == (form == "ordered")
    if form == "consecutive":
        assert consecutive
        ids = info.first + np.arange(n)
    else:
        ids = np.array(bodies["IDS"].values, np.int64)
        assert info.first == 0
        assert (form == "ascending") == bool((ids[1:] >= ids[:-1]).all())
        assert not (consecutive and n > 0 and (np.diff(ids) == 1).all())
    if form == "ordered":
        np.testing.assert_array_equal(bodies["IDORDER"].values, np.lexsort((np.arange(n), ids)))
    assert len(ids) == n
    assert not (ids == -1).any()
    largest = int(ids.max()) if n else -1
    assert info.next >= n
    assert info.next > largest or info.next == largest == LARGEST_ID
    return ids
