"""Errors and warnings as one line on stderr each, and the exit codes."""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

BAD_DATA = 1
BAD_USAGE = 2
NOT_MET = 3  # no error: a target was not reached, codes differ, or drift calls for action
INTERRUPTED = 130

_NOTHING_LEFT = "interrupted; no partial file is left"


class UsageError(Exception):
    """Options that exclude each other, or an invalid value."""


def print_error(error: BaseException, options: Collection[str] = (), *, debug: bool = False) -> int:
    """Print an error on stderr as one line, and return the exit code.

    Parameters
    ----------
    error : exception
    options : collection of str
        Parameters of the command: an error about one of them is a usage error.
    debug : bool
        Also print the traceback.
    """
    if debug or os.environ.get("WATERFILL_DEBUG"):
        traceback.print_exception(error)
    code, line = _explain(error, options)
    print_line(line)
    return code


def print_line(line: str) -> None:
    """Print one line on stderr."""
    print("waterfill: " + " ".join(line.split()), file=sys.stderr, flush=True)


def show_warnings() -> None:
    """Print each warning as one line on stderr."""

    def show(message: Any, *_: Any, **__: Any) -> None:
        print_line(f"warning: {message}")

    warnings.simplefilter("default")
    warnings.showwarning = show


@contextmanager
def options_named() -> Iterator[None]:
    """Name options where the library's errors and warnings tell which arguments to pass."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except (TypeError, ValueError) as error:
        raise type(error)(_with_options(str(error))) from None
    for warning in caught:
        warnings.warn(_with_options(str(warning.message)), warning.category, stacklevel=2)


def _with_options(message: str) -> str:
    return re.sub(r"\b(rows|row_ids|ids|query_ids|base_ids)=", _option, message)


def _option(match: re.Match[str]) -> str:
    named = {"query_ids": "query-names", "base_ids": "base-names"}
    return "--" + named.get(match[1], match[1].replace("_", "-"))


def _explain(error: BaseException, options: Collection[str]) -> tuple[int, str]:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, f"interrupted; {error}" if str(error) else _NOTHING_LEFT
    if hasattr(error, "format_message"):  # the parser's errors
        message = error.format_message().replace("Value error, ", "")  # pydantic's prefix
        return BAD_USAGE, f"{message.removesuffix('.')} (see --help)"
    if isinstance(error, UsageError | ImportError):
        return BAD_USAGE, str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return BAD_DATA, f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, MemoryError):
        return BAD_DATA, f"out of memory: {error}"
    if isinstance(error, OSError | ValueError | TypeError):
        return _explain_argument(str(error), options)
    return BAD_DATA, f"{type(error).__name__}: {error} (--debug shows the traceback)"


def _explain_argument(message: str, options: Collection[str]) -> tuple[int, str]:
    """Replace the name of the library's argument by that of the command's option."""
    match = re.match(r"(\w+)(?==| is )", message)
    if match is None or match[1] not in options:
        return BAD_DATA, message
    dashes = "-" if len(match[1]) == 1 else "--"
    return BAD_USAGE, f"{dashes}{match[1].replace('_', '-')}{message[match.end() :]}"
