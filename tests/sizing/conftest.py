"""Rates as a run has measured them: 768 dimensions in 96 bytes, on one core of an EPYC."""

from __future__ import annotations

from pathlib import Path

import pytest

from waterfill.sizing import Rates


@pytest.fixture(scope="session")
def rates():
    return Rates.load(Path(__file__).parent / "rates-768.json")
