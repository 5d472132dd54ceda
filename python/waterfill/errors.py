"""Errors that are two things at once: what Python calls them, and what FAISS raises there.

A pipeline written for FAISS catches its RuntimeError or AssertionError; everybody else expects the
exception that says what is wrong. And one warning.
"""

from __future__ import annotations


class NotTrainedError(RuntimeError):
    """The index has no codec yet: call `train` first."""


class ArgumentError(ValueError, AssertionError):
    """An argument has a value that is not possible, where FAISS has an assertion."""


class MissingIdError(IndexError, ValueError, RuntimeError):
    """There is no vector with this id, or at this position."""


class FaissCopyWarning(UserWarning):
    """FAISS works on a copy of an index that loses something of it, or did not follow it."""
