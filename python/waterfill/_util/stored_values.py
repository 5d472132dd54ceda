"""Reading stored documents: one kind of error, and checks of the types of values."""

from __future__ import annotations

import json
import math
import struct
import tokenize
import types
import typing
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

_ERRORS = (
    ArithmeticError,  # OverflowError
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,  # RecursionError, NotImplementedError; zipfile's for encrypted members
    SyntaxError,  # of the header of an array
    TypeError,
    ValueError,  # UnicodeError, JSONDecodeError
    struct.error,
    tokenize.TokenError,  # likewise
    zipfile.BadZipFile,
    zlib.error,
)
_MAX_BITS = 1023  # of an int within float64
MAX_COUNT = 2**53
"""The largest count in a document: all up to it are exact as JSON numbers."""


@contextmanager
def reading(what: str, error_type: type[ValueError]) -> Iterator[None]:
    """Turn the errors of reading a document into `error_type`, as ``{what}: {reason}``.

    The document's content may raise anything: numbers that overflow, nesting without end, members
    that are missing or of another type.
    """
    try:
        yield
    except _ERRORS as error:
        if error_type is not ValueError and isinstance(error, error_type):
            raise  # it already says what is wrong
        raise error_type(f"{what}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return str(error) or type(error).__name__


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object; ValueError for other values, TypeError if `text` is no text."""
    if not isinstance(text, str | bytes | bytearray):
        raise TypeError(f"expected text, got {type(text).__name__}")
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, got {type(document).__name__}")
    return document


def as_count(name: str, value: Any, minimum: int = 0, maximum: int = MAX_COUNT) -> int:
    """Return a count of a document; ValueError unless it is an int within these bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}={_shown(value)} must be an int")
    if not minimum <= value <= maximum:
        raise ValueError(f"{name}={_shown(value)} must be from {minimum} to {maximum}")
    return value


def as_real(name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """Return a finite number of a document; ValueError unless it is within these bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}={_shown(value)} must be a number")
    large = isinstance(value, int) and value.bit_length() > _MAX_BITS
    if large or not minimum <= value <= maximum or not math.isfinite(value):
        raise ValueError(f"{name}={_shown(value)} must be a finite number in its range")
    return float(value)


def require_types(kind: type, values: Mapping[str, Any]) -> None:
    """Raise ValueError unless values have the types that a dataclass declares for its fields.

    Numbers must be finite, and counts within 2**53.
    """
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name in hints and not _matches(value, hints[name]):
            raise ValueError(f"{name}={_shown(value)} must be of type {_named(hints[name])}")


def _matches(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, each) for each in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is dict:
        return isinstance(value, dict) and all(
            isinstance(name, str) and _matches(each, arguments[1]) for name, each in value.items()
        )
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_matches(v, arguments[0]) for v in value)
    if hint is float:
        return _matches(value, int) or (isinstance(value, float) and math.isfinite(value))
    if hint is int:
        return type(value) is int and abs(value) <= MAX_COUNT
    return isinstance(value, hint)


def _named(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an int of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
