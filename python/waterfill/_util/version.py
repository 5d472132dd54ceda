"""The version of the installed package."""

from __future__ import annotations


def installed_version() -> str:
    """Return the version of waterfill.

    A function, since importlib.metadata takes longer to import than the rest of waterfill.
    """
    from importlib.metadata import version

    return version("waterfill")
