"""Whatever goes wrong, as one line and an exit code."""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Collection
from typing import Any

BAD_DATA = 1
BAD_USAGE = 2
UNREACHED = 3  # all went well, and the answer is no
INTERRUPTED = 130


class UsageError(Exception):
    """Options that do not go together, or a value that cannot be."""


def report(error: BaseException, options: Collection[str] = (), *, debug: bool = False) -> int:
    """Say on stderr what went wrong, in one line, and return the exit code.

    Parameters
    ----------
    error : exception
    options : collection of str
        Parameters of the command: an error about one of them is about how it was called.
    debug : bool
        Print the traceback, too.
    """
    if debug or os.environ.get("WATERFILL_DEBUG"):
        traceback.print_exception(error)
    code, line = _explain(error, options)
    say(line)
    return code


def say(line: str) -> None:
    """Print one line on stderr."""
    print("waterfill: " + " ".join(line.split()), file=sys.stderr, flush=True)


def show_warnings() -> None:
    """Let warnings be one line each."""

    def show(message: Any, *_: Any, **__: Any) -> None:
        say(f"warning: {message}")

    warnings.simplefilter("default")
    warnings.showwarning = show


def _explain(error: BaseException, options: Collection[str]) -> tuple[int, str]:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted; nothing half-written is left"
    if hasattr(error, "format_message"):  # of the parser: no such option, and the like
        words = error.format_message().replace("Value error, ", "")  # that is pydantic's
        return BAD_USAGE, f"{words.removesuffix('.')} (--help lists what there is)"
    if isinstance(error, UsageError | ImportError):
        return BAD_USAGE, str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return BAD_DATA, f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, MemoryError):
        return BAD_DATA, f"not enough memory: {error}"
    if isinstance(error, OSError | ValueError | TypeError):
        return _explain_argument(str(error), options)
    return BAD_DATA, f"{type(error).__name__}: {error} (--debug shows where)"


def _explain_argument(message: str, options: Collection[str]) -> tuple[int, str]:
    """Call an argument of the library by the option that gave it."""
    named = re.match(r"(\w+)(?==)", message)
    if named is None or named[1] not in options:
        return BAD_DATA, message
    dashes = "-" if len(named[1]) == 1 else "--"
    return BAD_USAGE, f"{dashes}{named[1].replace('_', '-')}{message[named.end() :]}"
