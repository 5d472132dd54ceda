"""Marks of tests that need what only some systems have."""

from __future__ import annotations

import os

import pytest

on_posix = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no forks, signals, links or limits as this test needs them"
)
