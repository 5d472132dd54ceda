"""Graphs of nested selectors: their distinct nodes, and programs that visit each node once.

A selector may be an operand of several others, so that a few nodes stand for a tree of exponential
size. All functions here are linear in the number of distinct nodes, and use no recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Step = tuple[Any, ...]
"""A step of a program in postfix order.

``('range', imin, imax)``, ``('set', ids)`` with int64 ids, ascending and unique,
``('bitmap', bytes)`` with the least significant bit first, ``('all',)``, ``('not',)``,
``('and',)``, ``('or',)``, ``('xor',)``.
"""

MAX_NODES = 100_000
"""Distinct nodes of a selector; each takes a pass over the ids of an index."""

_MAX_REPEATS = 64  # steps of a program in which shared nodes are simply repeated


@dataclass(frozen=True)
class Node:
    """A step, and the numbers of its operands in the list of nodes, where they come first."""

    step: Step
    operands: tuple[int, ...] = ()


def distinct_nodes(
    root: Any, key: Callable[[Any], Hashable], read: Callable[[Any], tuple[Step, tuple[Any, ...]]]
) -> list[Node]:
    """List the distinct nodes of a selector, operands first and the root last.

    Parameters
    ----------
    root : selector
    key : callable
        Returns the identity of a selector.
    read : callable
        Returns the step and the operands of a selector. Called once for each.

    Raises
    ------
    ValueError
        If a selector contains itself, or has more than `MAX_NODES` nodes.
    """
    nodes: list[Node] = []
    numbers: dict[Hashable, int] = {}
    opened: dict[Hashable, tuple[Any, Step, tuple[Any, ...]]] = {}  # also keeps proxies alive
    waiting = [root]
    while waiting:
        sel = waiting[-1]
        name = key(sel)
        if name in numbers:
            waiting.pop()
        elif name in opened:  # its operands have been listed
            waiting.pop()
            _, step, operands = opened[name]
            numbers[name] = len(nodes)
            nodes.append(Node(step, tuple(numbers[key(operand)] for operand in operands)))
        else:
            if len(opened) == MAX_NODES:
                raise ValueError(f"sel has more than {MAX_NODES:,} selectors; pass a bitmap")
            step, operands = read(sel)
            opened[name] = sel, step, operands
            for operand in reversed(operands):
                inner = key(operand)
                if inner in opened and inner not in numbers:
                    _require_acyclic(inner, waiting, key)
                waiting.append(operand)
    return nodes


def _require_acyclic(
    inner: Hashable, waiting: Sequence[Any], key: Callable[[Any], Hashable]
) -> None:
    """Refuse an operand that has been opened and not listed: it is on the path from the root."""
    owner = next(sel for sel in waiting if key(sel) == inner)
    raise ValueError(f"sel: a selector contains itself: {type(owner).__name__}")


def postfix(nodes: Sequence[Node]) -> list[Step] | None:
    """Return a program that repeats shared nodes, or None if it would be far longer than `nodes`.

    In a long program the operand that needs more intermediate results comes first (Ershov, 1958),
    so that m steps hold at most log2(m) + 1 of them. All binary operators are commutative.
    """
    lengths: list[int] = []
    needs: list[int] = []
    for node in nodes:
        lengths.append(1 + sum(lengths[operand] for operand in node.operands))
        below = sorted((needs[operand] for operand in node.operands), reverse=True)
        needs.append(max((need + place for place, need in enumerate(below)), default=1))
        if lengths[-1] > max(_MAX_REPEATS, 2 * len(nodes)):
            return None
    ordered = len(nodes) > _MAX_REPEATS
    steps: list[Step] = []
    waiting = [len(nodes) - 1]
    while waiting:  # prefix order from the right, reversed below
        node = nodes[waiting.pop()]
        steps.append(node.step)
        waiting.extend(sorted(node.operands, key=lambda operand: -needs[operand] * ordered))
    steps.reverse()
    return steps


def members(nodes: Sequence[Node], ids: Ids) -> Ids:
    """Return those of some ids that a selector contains, evaluating each node once."""
    uses = np.zeros(len(nodes), np.int64)
    for node in nodes:
        for operand in node.operands:
            uses[operand] += 1
    masks: dict[int, Mask] = {}
    for number, node in enumerate(nodes):
        operands = [masks[operand] for operand in node.operands]
        masks[number] = _OPERATORS[node.step[0]](*operands) if operands else _leaf(node.step, ids)
        for operand in node.operands:
            uses[operand] -= 1
            if uses[operand] == 0:
                del masks[operand]
    return ids[masks[len(nodes) - 1]]


_OPERATORS: dict[str, Callable[..., Mask]] = {
    "not": np.logical_not,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


def _leaf(step: Step, ids: Ids) -> Mask:
    kind = step[0]
    if kind == "range":
        return np.asarray((ids >= step[1]) & (ids < step[2]))
    if kind == "set":
        return np.isin(ids, step[1])
    if kind == "bitmap":
        bits = np.unpackbits(step[1], bitorder="little").view(np.bool_)
        inside = (ids >= 0) & (ids < len(bits))
        inside[inside] = bits[ids[inside]]
        return np.asarray(inside)
    return np.ones(len(ids), np.bool_)
