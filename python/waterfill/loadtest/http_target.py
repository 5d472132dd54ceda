"""`Url`: an HTTP request as the target of a capacity test."""

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
    """The host is not this machine, and ``own_host=True`` was not given."""


class StatusError(RuntimeError):
    """The response is a redirect or has a status of 400 or above, other than 503."""


@dataclass(frozen=True)
class Url:
    """An HTTP request as the target of `capacity_test`.

    Needs aiohttp: ``pip install ".[ramp]"``. Connections are kept alive, and each response
    is read to its last byte. Status 503 counts as a refusal. Errors are any other status of 400 or
    above, a redirect (none is followed), a failed connection, and a timeout.

    Parameters
    ----------
    url : str
        An http or https URL.
    body : bytes, optional
        Sent by POST. Without it, the request is a GET.
    headers : mapping of str to str
        With a body, Content-Type defaults to application/json.
    timeout : float
        Seconds.
    own_host : bool
        Confirms that the host is yours to put under load. Without it, all addresses of the host
        must be loopback addresses of this machine.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
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
            raise ValueError(f"url={self.url!r} must be an http:// or https:// URL with a host")
        if self.body is not None and not isinstance(self.body, bytes):
            raise TypeError(f"body must be bytes, got {type(self.body).__name__}")
        if as_number("timeout", self.timeout, 0, finite=True) == 0:
            raise ValueError("timeout=0 must be above 0 seconds")

    def client(self) -> Client:
        """Return a client, an async context manager; calling it sends one request.

        Raises
        ------
        ImportError
            If aiohttp is not installed: ``pip install ".[ramp]"``.
        """
        require("aiohttp", "Url", "ramp")
        return Client(self)


class Client:
    """Connections to one URL, as an async context manager; a call sends a request.

    Parameters
    ----------
    url : Url
        The URL, and what is sent to it.
    """

    def __init__(self, url: Url) -> None:
        self._url, self._session = url, None
        self._method = "GET" if url.body is None else "POST"
        self._headers = dict(url.headers)
        names = {name.lower() for name in self._headers}
        if url.body is not None and "content-type" not in names:
            self._headers["Content-Type"] = "application/json"

    async def __aenter__(self) -> Client:
        aiohttp: Any = require("aiohttp", "Url", "ramp")
        host = urlsplit(self._url.url).hostname
        assert host is not None
        address = await _address(host, own=self._url.own_host)
        # Connect to the address that was checked, even if the name resolves to another one later.
        connector = aiohttp.TCPConnector(limit=0, resolver=_FixedResolver(address))
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
        """Send a request and read its response."""
        assert self._session is not None
        async with self._session.request(
            self._method,
            self._url.url,
            data=self._url.body,
            headers=self._headers,
            allow_redirects=False,
        ) as response:
            await response.read()
            if response.status == _UNAVAILABLE:
                raise AtCapacity(0, 0, None, "capacity", self._url.url)
            if response.status >= 300:
                raise StatusError(f"status {response.status}")


class _FixedResolver:
    """A resolver that returns one address, the one that was checked."""

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
    """Return an address of a host; unless `own`, all of them must be loopback addresses."""
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"url: the host {host!r} has no address: {error.strerror}") from None
    addresses = [str(info[4][0]).partition("%")[0] for info in found]
    remote = [address for address in addresses if not is_loopback(address)]
    if remote and not own:
        raise NotAllowedError(
            f"url: the host {host!r} is {remote[0]}, not this machine; a capacity test overloads "
            "its target: confirm that the host is yours with own_host=True"
        )
    # IPv4 first: a server on "localhost" often listens on IPv4 only.
    return min(addresses, key=lambda address: ":" in address)
