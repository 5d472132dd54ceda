"""Helpers for tests with threads: search parameters, exact comparison, searches that wait."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

import waterfill as wf

PATIENCE = 60  # seconds after which a test assumes that something hangs

PARAMS = [
    None,
    wf.SearchParameters(),
    wf.SearchParameters(nprobe=2),
    wf.SearchParameters(nprobe=2),
    wf.SearchParameters(k_factor=2.0),
    wf.SearchParameters(sel=wf.IDSelectorRange(100, 900)),
    wf.SearchParameters(sel=wf.IDSelectorNot(wf.IDSelectorArray(np.arange(0, 1500, 2)))),
]


def assert_same(found: Any, expected: Any) -> None:
    """Compare distances and ids byte by byte."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes()


class Gate:
    """Holds the searches of an index until `open` is set, and records their sizes."""

    def __init__(self, index, monkeypatch):
        self.open, self.begun, self.sizes = threading.Event(), threading.Event(), []
        search = index.search

        def held(x, k, **options):
            self.sizes.append(len(x))
            self.begun.set()
            assert self.open.wait(PATIENCE)
            return search(x, k, **options)

        monkeypatch.setattr(index, "search", held)


def until(condition):
    """Wait until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
