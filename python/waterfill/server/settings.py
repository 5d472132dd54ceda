"""What a service is told when it is made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waterfill._util.validation import as_number, as_positive_int
from waterfill.lifecycle.gate import Gate

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_IN_USE_PER_CORE = 8
_SHORTEST_TOKEN = 16


def usual_limit() -> int:
    """Return the limit of a service that nobody measured."""
    return _IN_USE_PER_CORE * (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of a service.

    Parameters
    ----------
    limit : int or Limiter
        Requests that are taken on at once; by default 8 for each core.
    token : str, optional
        What requests must have as ``Authorization: Bearer``, all but ``/healthz`` and ``/readyz``.
        16 printable ASCII characters at least.
    names : iterable of str
        Without a token: what the ``Host`` header may say, beside localhost, 127.0.0.1 and [::1].
    batch : bool
        Whether searches that come together are one search of the index: see `Batcher`.
    max_body : int
        Bytes of a request's body.
    max_vectors : int
        Vectors of a request.
    max_k : int
        Neighbours of a query.
    body_seconds : float
        Within which a request's body must have come.
    swap_folder : path, optional
        Where the files of ``/swap`` are. Without it there is no swapping.
    gate : Gate, optional
        What an index must show before it takes the place of the one in use.

    Raises
    ------
    TypeError, ValueError
        For a value of the wrong type or out of range.
    """

    limit: Any = field(default_factory=usual_limit)
    token: str | None = field(default=None, repr=False)
    names: Iterable[str] = ()
    batch: bool = True
    max_body: int = 8_000_000
    max_vectors: int = 1024
    max_k: int = 1000
    body_seconds: float = 30.0
    swap_folder: str | os.PathLike[str] | None = None
    gate: Gate | None = None

    def __post_init__(self) -> None:
        if not callable(getattr(self.limit, "acquire", None)):
            as_positive_int("limit", self.limit)
        for name in ("max_body", "max_vectors", "max_k"):
            as_positive_int(name, getattr(self, name))
        as_number("body_seconds", self.body_seconds, 0.001)
        if isinstance(self.names, str):
            raise TypeError(f"names must be an iterable of str, got {self.names!r}")
        object.__setattr__(self, "names", tuple(self.names))
        if self.token is not None:
            check_token("token", self.token)
        if self.swap_folder is not None and not Path(self.swap_folder).is_dir():
            raise ValueError(f"swap_folder={str(self.swap_folder)!r} is no directory")
        if self.gate is not None and not isinstance(self.gate, Gate):
            raise TypeError(f"gate must be a waterfill.Gate, got {type(self.gate).__name__}")


def check_token(name: str, token: Any) -> str:
    """Return a token, or say what is wrong with it without saying what it is."""
    if not isinstance(token, str):
        raise TypeError(f"{name} must be a str, got {type(token).__name__}")
    if len(token) < _SHORTEST_TOKEN:
        raise ValueError(
            f"{name} has {len(token)} characters, wanted are {_SHORTEST_TOKEN} or more"
        )
    if not all("!" <= character <= "~" for character in token):
        raise ValueError(f"{name} has a space, or what is no printable ASCII character")
    return token
