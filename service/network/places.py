"""How many associations there are, in all and from each address."""

from __future__ import annotations

from threading import Lock

from pynetdicom.association import Association

from service.network.requests import Rejection


class Place:
    """One association's place; free again once the association's threads have ended."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._assoc: Association | None = None
        self._free = False

    def hold(self, assoc: Association) -> None:
        """It is this association's, which has started."""
        self._assoc = assoc

    def leave(self) -> None:
        """It came to no association."""
        self._free = True

    @property
    def taken(self) -> bool:
        """By its threads and not by the library's events, which do not come for every way an association ends."""
        if self._assoc is None:
            return not self._free
        return bool(self._assoc.is_alive() or self._assoc.dul.is_alive())


class Places:
    """Counts places; any number of threads may ask.

    Parameters
    ----------
    in_all, per_address
        At a time.
    """

    def __init__(self, *, in_all: int, per_address: int) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._places: list[Place] = []
        self._lock = Lock()

    def take(self, address: str) -> Place | Rejection:
        """A place, or why there is none."""
        with self._lock:
            self._places = [place for place in self._places if place.taken]
            if len(self._places) >= self._in_all:
                return Rejection.LOCAL_LIMIT_EXCEEDED
            if sum(place.address == address for place in self._places) >= self._per_address:
                return Rejection.PEER_LIMIT_EXCEEDED
            self._places.append(Place(address))
            return self._places[-1]

    @property
    def taken(self) -> int:
        """Associations now."""
        with self._lock:
            return sum(place.taken for place in self._places)
