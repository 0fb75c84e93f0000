"""Who may associate, from where, and how often."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from threading import Lock
from typing import TypeAlias

from service.network.requests import AssociationRequest, Rejection

Network: TypeAlias = IPv4Network | IPv6Network
Origin: TypeAlias = tuple[str, Network]
"""A calling AE title, or none for every one, and where it may call from."""
Admit: TypeAlias = Callable[[AssociationRequest], Rejection | None]
_MINUTE_S = 60.0
_MOST_ADDRESSES = 4096


def accept_policy(
    calling_ae_titles: Collection[str],
    promiscuous: bool,
    called_ae: str | None,
    has_room: Callable[[], bool],
    *,
    origins: Sequence[Origin] = (),
) -> Admit:
    """Who may associate.

    Parameters
    ----------
    calling_ae_titles
        Who may call. With none, and not promiscuous, any AE title may, but from this machine only.
    called_ae
        What we must be called; None does not look.
    has_room
        Whether storage takes more. Refusing the association is kinder than failing each instance: senders retry.
    origins
        A title that is named here calls from its own networks only, every other from those without a title; where
        there are none of the kind, from anywhere.
    """
    known = frozenset(calling_ae_titles)

    def admit(request: AssociationRequest) -> Rejection | None:
        address = _address(request.calling_address)
        if not (promiscuous or (request.calling_ae in known if known else address.is_loopback)):
            return Rejection.CALLING_AE_TITLE_NOT_RECOGNISED
        own = [network for title, network in origins if title == request.calling_ae]
        networks = own or [network for title, network in origins if not title]
        if networks and not any(address in network for network in networks):
            return Rejection.CALLING_ADDRESS_NOT_RECOGNISED
        if called_ae is not None and request.called_ae != called_ae:
            return Rejection.CALLED_AE_TITLE_NOT_RECOGNISED
        return None if has_room() else Rejection.STORAGE_SHORT

    return admit


class Pace:
    """How many requests an address makes in a minute.

    Parameters
    ----------
    per_minute
        Admitted from one address within any 60 s; 0 sets no limit.
    clock
        Seconds that never go back, e.g. `time.monotonic`.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def allows(self, address: str) -> bool:
        """Whether one more may come now; it then counts."""
        if not self._per_minute:
            return True
        now = self._clock()
        with self._lock:
            times = self._times.setdefault(address, deque())
            self._times.move_to_end(address)
            while len(self._times) > _MOST_ADDRESSES:
                self._times.popitem(last=False)
            while times and times[0] <= now - _MINUTE_S:
                times.popleft()
            if len(times) >= self._per_minute:
                return False
            times.append(now)
            return True


def _address(text: str) -> IPv4Address | IPv6Address:
    parsed = ipaddress.ip_address(text.partition("%")[0])  # without the zone of a link-local address
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
