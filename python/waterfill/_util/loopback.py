"""Detection of loopback addresses."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Return whether an IP address is a loopback address, IPv4-mapped IPv6 included.

    Raises
    ------
    ValueError
        If `address` is not an IP address.
    """
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (parsed if mapped is None else mapped).is_loopback
