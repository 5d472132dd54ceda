"""`ServerSettings`, and the check of a token."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waterfill._util.validation import as_number, as_positive_int
from waterfill.folder.write_ahead_log import SYNCS, Sync
from waterfill.lifecycle.gate import Gate

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine in a Host header."""

_LIMIT_PER_CORE = 8
_MIN_TOKEN = 16


def default_limit() -> int:
    """Return the limit of a service without a capacity report."""
    return _LIMIT_PER_CORE * (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of a service.

    Parameters
    ----------
    limit : int or Limiter
        Requests admitted at once; by default 8 for each core.
    token : str, optional
        At least 16 printable ASCII characters, required as ``Authorization: Bearer`` by all paths
        but ``/healthz`` and ``/readyz``.
    names : iterable of str
        Hosts that the ``Host`` header may name, in addition to localhost, 127.0.0.1 and [::1].
        Used only without a token.
    batch : bool
        Whether concurrent searches are combined: see `Batcher`.
    max_body : int
        Maximum size of a request's body in bytes.
    max_vectors : int
        Maximum number of vectors in a request.
    max_k : int
        Maximum number of neighbours of a query.
    body_seconds : float
        Time within which a request's body must arrive.
    header_seconds : float
        Time within which a request's header must arrive, from the opening of the connection or
        from its first byte. Applied by ``waterfill serve``, like the next two.
    response_seconds : float
        Time within which a client must read a response.
    max_connections : int
        Maximum number of open connections. Bodies take at most ``max_connections * max_body``
        bytes of memory.
    swap_folder : path, optional
        Folder of the files for ``/swap``, which is refused without it.
    gate : Gate, optional
        Conditions that an index must meet before it replaces the current one.
    read_only : bool
        Refuse ``/add``, ``/upsert`` and ``/remove``. A folder is then opened to read, also while
        another process changes it.
    refresh_seconds : float
        How often a folder that was opened to read takes in what its writer has done since.
    sync : {'commit', 'interval', 'none'}
        When a change of a folder is on the disk: see `waterfill.open_index`.

    Raises
    ------
    TypeError, ValueError
        For a value of the wrong type or out of range.
    """

    limit: Any = field(default_factory=default_limit)
    token: str | None = field(default=None, repr=False)
    names: Iterable[str] = ()
    batch: bool = True
    max_body: int = 8_000_000
    max_vectors: int = 1024
    max_k: int = 1000
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    response_seconds: float = 60.0
    max_connections: int = 512
    swap_folder: str | os.PathLike[str] | None = None
    gate: Gate | None = None
    read_only: bool = False
    refresh_seconds: float = 1.0
    sync: Sync = "commit"

    def __post_init__(self) -> None:
        if not callable(getattr(self.limit, "acquire", None)):
            as_positive_int("limit", self.limit)
        for name in ("max_body", "max_vectors", "max_k", "max_connections"):
            as_positive_int(name, getattr(self, name))
        for name in ("header_seconds", "body_seconds", "response_seconds", "refresh_seconds"):
            as_number(name, getattr(self, name), 0.001)
        if self.sync not in SYNCS:
            raise ValueError(f"sync={self.sync!r} must be one of {', '.join(map(repr, SYNCS))}")
        if isinstance(self.names, str):
            raise TypeError(f"names must be an iterable of str, got {self.names!r}")
        object.__setattr__(self, "names", tuple(self.names))
        if self.token is not None:
            check_token("token", self.token)
        if self.swap_folder is not None and not Path(self.swap_folder).is_dir():
            raise ValueError(f"swap_folder={str(self.swap_folder)!r} is not a directory")
        if self.gate is not None and not isinstance(self.gate, Gate):
            raise TypeError(
                f"gate must be a waterfill.lifecycle.Gate, got {type(self.gate).__name__}"
            )


def check_token(name: str, token: Any) -> str:
    """Return a valid token; the errors of an invalid one do not reveal it."""
    if not isinstance(token, str):
        raise TypeError(f"{name} must be a str, got {type(token).__name__}")
    if len(token) < _MIN_TOKEN:
        raise ValueError(f"{name} must have at least {_MIN_TOKEN} characters, got {len(token)}")
    if not all("!" <= character <= "~" for character in token):
        raise ValueError(f"{name} must have only printable ASCII characters and no space")
    return token
