"""Whether an address can be listened on, and in words why not."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFault:
    """Why an address cannot be listened on; `taken` when something listens there already."""

    taken: bool
    text: str


def address_fault(host: str, port: int) -> AddressFault | None:
    """Bind and let go at once; None when that works."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as fault:
        return AddressFault(taken=False, text=f"the host name cannot be resolved ({fault.strerror or fault})")
    with socket.socket(family, kind, protocol) as probe:
        # As servers do, so that the closing connections of an earlier run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as fault:
            return AddressFault(taken=fault.errno == errno.EADDRINUSE, text=bind_fault_text(fault))
    return None


def bind_fault_text(fault: OSError) -> str:
    """What the refusal of an address means for the person who configured it."""
    reasons = {
        errno.EADDRINUSE: "another program listens there",
        errno.EACCES: "this process may not use a port so low; choose one above 1023 or grant CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "this machine does not have that address",
    }
    return reasons.get(fault.errno or 0, fault.strerror or type(fault).__name__)
