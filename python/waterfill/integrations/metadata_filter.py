"""Filters of metadata as dicts, in the language of LangChain's FAISS store."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

Test = Callable[[dict[str, Any]], bool]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$lt": operator.lt,
    "$gte": operator.ge,
    "$lte": operator.le,
}
_LISTS = ("$in", "$nin")
_OPERATORS = ("$eq", "$neq", *_ORDERS, *_LISTS)
_LOGIC = ("$and", "$or", "$not")


def metadata_test(filter: dict[str, Any]) -> Test:
    """Return the test that a filter stands for.

    Parameters
    ----------
    filter : dict
        Keys are fields, whose value must be equal to the filter's, among those of a list, or pass
        all operators of a dict: ``$eq``, ``$neq``, ``$gt``, ``$lt``, ``$gte``, ``$lte``, ``$in``,
        ``$nin``. ``$and`` and ``$or`` take a list of filters, ``$not`` takes a filter. All keys
        must pass. A field that is missing is None, which has no order.

    Raises
    ------
    ValueError, TypeError
        For an operator that is none of these, or an operand of the wrong type. By the test: if a
        value has no order with the filter's.
    """
    if not isinstance(filter, dict):
        raise TypeError(f"filter: expected a dict, got {filter!r}")
    tests = [_key_test(key, value) for key, value in filter.items()]
    return lambda metadata: all(test(metadata) for test in tests)


def _key_test(key: str, value: Any) -> Test:
    if key in ("$and", "$or"):
        if not isinstance(value, list | tuple):
            raise TypeError(f"filter: expected a list of filters for {key!r}, got {value!r}")
        inner = [metadata_test(one) for one in value]
        joined = all if key == "$and" else any
        return lambda metadata: joined(test(metadata) for test in inner)
    if key == "$not":
        test = metadata_test(value)
        return lambda metadata: not test(metadata)
    if isinstance(key, str) and key.startswith("$"):
        raise ValueError(
            f"filter: expected a field or one of {', '.join(_LOGIC)}, got {key!r}; write operators "
            "in the field's dict"
        )
    if isinstance(value, dict):
        tests = [_operator_test(key, name, operand) for name, operand in value.items()]
        return lambda metadata: all(test(metadata) for test in tests)
    if isinstance(value, list | tuple):
        return lambda metadata: metadata.get(key) in value
    return lambda metadata: bool(metadata.get(key) == value)


def _operator_test(key: str, name: str, operand: Any) -> Test:
    if name not in _OPERATORS:
        raise ValueError(
            f"filter: expected one of {', '.join(_OPERATORS)} for {key!r}, got {name!r}"
        )
    if name in _LISTS:
        if not isinstance(operand, list | tuple | set | frozenset):
            raise TypeError(f"filter: expected a list for {name!r} of {key!r}, got {operand!r}")
        return lambda metadata: (metadata.get(key) in operand) == (name == "$in")
    if name in ("$eq", "$neq"):
        return lambda metadata: bool(metadata.get(key) == operand) == (name == "$eq")
    order = _ORDERS[name]

    def test(metadata: dict[str, Any]) -> bool:
        value = metadata.get(key)
        try:
            return value is not None and bool(order(value, operand))
        except TypeError:
            raise TypeError(
                f"filter: expected what has an order with {value!r} of {key!r} for {name!r}, got "
                f"{operand!r}"
            ) from None

    return test
