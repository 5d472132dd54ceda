"""What the tests of the stores have in common."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

TEXTS = 1200
QUERIES = 40
D = 384
LEAST_RECALL = 0.75
Vectors = Callable[[str], list[float]]
MakeIndex = Callable[[str], Any]

flat_and_ivf = pytest.mark.parametrize("kind", ["flat", "ivf"])


def load(*names: str) -> list[Any]:
    """Modules of a store; skip where they are missing, unless CI says that they are not."""
    if os.environ.get("WATERFILL_REQUIRE_STORES") == "1":
        return [importlib.import_module(name) for name in names]
    reason = "{} is not installed; tests/requirements-stores.txt has it"
    return [pytest.importorskip(name, reason=reason.format(name)) for name in names]


def named(numbers: Any) -> list[str]:
    return [f"text {number}" for number in numbers if number >= 0]


def check_answers(ask: Callable[[str], list[str]], exact: list[list[str]]) -> float:
    """The recall of ten answers to each query, which must not be small."""
    found = [ask(f"query {number}") for number in range(QUERIES)]
    shares = [len({*a} & {*b}) / len(b) for a, b in zip(found, exact, strict=True)]
    recall = float(np.mean(shares))
    assert recall >= LEAST_RECALL
    return recall


def to_delete(exact: list[list[str]]) -> list[str]:
    """Texts that searches find, and the first of all, after which every number moves."""
    return list(dict.fromkeys(["text 0", *exact[0][:3], *exact[1][:3]]))


def without(exact: list[list[str]], gone: list[str]) -> list[list[str]]:
    return [[text for text in row if text not in gone] for row in exact]
