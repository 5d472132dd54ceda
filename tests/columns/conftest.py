"""Fixtures: a codec and the codes of some vectors."""

from __future__ import annotations

import pytest
from support import trained


@pytest.fixture(scope="session")
def vectors(base_64):
    """600 vectors of 64 dimensions."""
    return base_64[:600]


@pytest.fixture(scope="session")
def codes(codec_64, vectors):
    """Their codes, from the codec itself."""
    return codec_64.encode(vectors)


@pytest.fixture(scope="session")
def other_codec(base_64):
    """Another codec for the same vectors, with codes of the same size."""
    return trained.trained(base_64, 16, seed=7)
