"""A service behind HTTP as what a capacity test asks."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from waterfill._util.loopback import is_loopback
from waterfill._util.optional import require
from waterfill._util.validation import as_number
from waterfill.errors import AtCapacity

_UNAVAILABLE = 503


class NotAllowedError(ValueError):
    """A host that is not this machine, and nobody said that it may be put under load."""


class StatusError(RuntimeError):
    """An answer that is none: a redirect, or a status of 400 and above."""


@dataclass(frozen=True)
class Url:
    """A request of HTTP, for `capacity_test`; needs aiohttp: ``pip install "waterfill[ramp]"``.

    Each request gets its answer to the last byte, over connections that are kept. 503 is a refusal;
    another status of 400 and above, a redirect (none is followed), no connection, and no answer in
    time are errors.

    Parameters
    ----------
    url : str
        http or https.
    body : bytes, optional
        To send by POST; without it, GET.
    headers : mapping of str to str
        With a body, Content-Type is application/json if it is not given.
    timeout : float
        Seconds.
    own_host : bool
        That the host may be put under load, as it is yours. Otherwise it must be this machine: all
        addresses that its name stands for, whatever the name says.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or out of its range.
    """

    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    own_host: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.url, str):
            raise TypeError(f"url must be a str, got {self.url!r}")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url={self.url!r} must begin with http:// or https://, and a host")
        if self.body is not None and not isinstance(self.body, bytes):
            raise TypeError(f"body must be bytes, got {type(self.body).__name__}")
        if as_number("timeout", self.timeout, 0, finite=True) == 0:
            raise ValueError("timeout=0 must be above 0 seconds")

    def client(self) -> Client:
        """Return what asks it, once it has been entered."""
        require("aiohttp", "Url", "ramp")
        return Client(self)


class Client:
    """Connections to one URL, as an async context manager; a call makes a request."""

    def __init__(self, url: Url) -> None:
        self._url, self._session = url, None
        self._method = "GET" if url.body is None else "POST"
        self._headers = dict(url.headers)
        named = {name.lower() for name in self._headers}
        if url.body is not None and "content-type" not in named:
            self._headers["Content-Type"] = "application/json"

    async def __aenter__(self) -> Client:
        aiohttp: Any = require("aiohttp", "Url", "ramp")
        host = urlsplit(self._url.url).hostname
        assert host is not None
        address = await _address(host, own=self._url.own_host)
        # Connections go to the address that was looked at, whatever the name means later.
        connector = aiohttp.TCPConnector(limit=0, resolver=_Fixed(address))
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._url.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self) -> None:
        """Make a request, and read its answer."""
        assert self._session is not None
        async with self._session.request(
            self._method,
            self._url.url,
            data=self._url.body,
            headers=self._headers,
            allow_redirects=False,
        ) as answer:
            await answer.read()
            if answer.status == _UNAVAILABLE:
                raise AtCapacity(0, 0, None, "capacity", self._url.url)
            if answer.status >= 300:
                raise StatusError(f"status {answer.status}")


class _Fixed:
    """A resolver that knows one address, which was looked at."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        """Return the address for any host."""
        version = ipaddress.ip_address(self._address).version
        return [
            {
                "hostname": host,
                "host": self._address,
                "port": port,
                "family": socket.AF_INET if version == 4 else socket.AF_INET6,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        """Do nothing."""


async def _address(host: str, *, own: bool) -> str:
    """Return an address of a host; unless it is one's own, all of them must be this machine."""
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"url: the host {host!r} has no address: {error.strerror}") from None
    addresses = [str(each[4][0]).partition("%")[0] for each in found]
    others = [address for address in addresses if not is_loopback(address)]
    if others and not own:
        raise NotAllowedError(
            f"url: the host {host!r} is {others[0]}, not this machine; a capacity test overloads "
            "what it asks: say that the host is yours"
        )
    # A server on "localhost" often listens on IPv4 alone.
    return min(addresses, key=lambda address: ":" in address)
