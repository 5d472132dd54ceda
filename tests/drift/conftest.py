"""Fixtures of drift tests in 64 dimensions: a codec, baselines, windows and canaries.

Codecs that a canary retrains inherit ``effort="fast"`` from the codec that they are compared with.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.drift_windows import REFERENCE, WINDOW, uneven
from support.trained import trained

import waterfill as wf
from waterfill.drift.canary import Canary
from waterfill.drift.canary_recall import CanaryRecall

TRAINED = 2000


@pytest.fixture(scope="session")
def base(base_64) -> np.ndarray:
    return uneven(base_64)


@pytest.fixture(scope="session")
def queries(queries_64) -> np.ndarray:
    return uneven(queries_64)


@pytest.fixture(scope="session")
def young(base) -> wf.Codec:
    """A codec of 8 bytes, trained on the first 2,000 sentences."""
    return trained(base[:TRAINED], 8, effort="fast")


@pytest.fixture(scope="session")
def halves(base, queries) -> tuple[Canary, Canary]:
    """Two canaries of the same period with disjoint sentences."""
    new = base[TRAINED:]
    return Canary(queries[::2], new[:1400]), Canary(queries[1::2], new[1400:])


@pytest.fixture(scope="session")
def baseline(young, halves) -> CanaryRecall:
    return halves[0].measure(young)


@pytest.fixture(scope="session")
def rotation(base) -> np.ndarray:
    rng = np.random.default_rng(2)
    matrix = np.linalg.qr(rng.standard_normal((base.shape[1], base.shape[1])))[0]
    return matrix.astype(np.float32)


@pytest.fixture(scope="session")
def fresh(base):
    """Sentences that `young` was not trained on, in random order."""
    return base[2000:][np.random.default_rng(0).permutation(2800)]


@pytest.fixture(scope="session")
def probes(base):
    return base[:64]


@pytest.fixture(scope="session")
def state(young, fresh, probes):
    """A saved monitor; made once, because making it measures recall."""
    return wf.DriftMonitor.from_codec(
        young, fresh[:REFERENCE], probes=probes, permutations=199
    ).to_bytes()


@pytest.fixture
def monitor(state):
    return wf.DriftMonitor.from_bytes(state)


@pytest.fixture(scope="session")
def window(fresh):
    return fresh[REFERENCE : REFERENCE + WINDOW]
