"""What the tests of serving share: parameters, results compared to the bit, searches held up."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

import waterfill as wf

PATIENCE = 60  # seconds after which something hangs

PARAMS = [
    None,
    wf.SearchParameters(),
    wf.SearchParameters(nprobe=2),
    wf.SearchParameters(nprobe=2),
    wf.SearchParameters(k_factor=2.0),
    wf.SearchParameters(sel=wf.IDSelectorRange(100, 900)),
    wf.SearchParameters(sel=wf.IDSelectorNot(wf.IDSelectorArray(np.arange(0, 1500, 2)))),
]


def assert_same(found: Any, wanted: Any) -> None:
    """Compare distances and ids byte by byte."""
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes()


class Gate:
    """A real index whose searches wait until they may go on; counts them."""

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
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
