"""Which addresses are this machine's own."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Tell whether an address is reached from this machine alone, IPv4 written as IPv6 too.

    Raises
    ------
    ValueError
        If it is no address.
    """
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (parsed if mapped is None else mapped).is_loopback
