"""Baselines that are only in the PACS: asked for when a delayed scan has come without; part of the root.

What is fetched goes the way of everything that arrives: pairing decides, and is no less strict with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Lock, Thread

import structlog

from service.config import Config
from service.dicom.records import InstanceHeader, SeriesSummary
from service.errors import PeerUnavailable
from service.network.peers import Peer
from service.network.retrieve import Retrieved, get_series, move_series
from service.network.search import PatientSought, SeriesFound, mr_series_of
from service.network.storage_scp import Receive
from service.wiring import local_entity, peers

_AGAIN = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
"""After a PACS that did not answer; from then on as the last."""
_FEWEST_SLICES = 56
"""Of a whole head: 140 mm at 2.5 mm, the least that a series must cover and the thickest that slices may be."""
_MULTI_FRAME = 1
"""Instances of a series that holds all its slices in one."""
_LOOK_S = 5.0
_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Want:
    scan: SeriesSummary
    until: datetime
    due: datetime
    tries: int = 0


class Priors:
    """A thread that asks the PACS that `priors.source` names; without one it does nothing.

    Parameters
    ----------
    known
        Whether a series, by UID, has arrived already.
    receive, on_ended
        For C-GET, as of `service.network.storage_scp.storage_listener`.
    on_fetched
        Called after something has come.
    """

    def __init__(
        self,
        config: Config,
        *,
        known: Callable[[str], bool],
        receive: Receive,
        on_ended: Callable[[str], None],
        on_fetched: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._settings = config.priors
        self._local = local_entity(config)
        self._peer: Peer | None = peers(config)[config.priors.source][0] if config.priors.source else None
        self._before = timedelta(hours=-config.pairing.windows.baseline.earliest_h)
        self._patience = timedelta(hours=config.pairing.partner_wait_hours)
        self._known, self._receive = known, receive
        self._on_ended, self._on_fetched, self._now = on_ended, on_fetched, now
        self._lock = Lock()
        self._wants: dict[str, _Want | None] = {}
        self._wake, self._stopping = Event(), Event()
        self._thread = Thread(target=self._run, name="priors", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._peer is not None:
            self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; a series that is being fetched may go on coming until the listener stops."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def lacking(self, scans: Sequence[SeriesSummary]) -> None:
        """These wait for their partner; each is looked for once in the life of the service, until an answer came."""
        now = self._now()
        with self._lock:
            for scan in scans:
                if self._peer is not None and scan.series_instance_uid not in self._wants and scan.acquired_at:
                    self._wants[scan.series_instance_uid] = _Want(scan=scan, until=now + self._patience, due=now)
                    self._wake.set()

    def turn(self, now: datetime) -> None:
        """Everything that is due at `now`."""
        with self._lock:
            due = [(uid, want) for uid, want in self._wants.items() if want is not None and want.due <= now]
        for uid, want in due:
            try:
                self._bring(want)
            except PeerUnavailable as fault:
                want.due = now + _AGAIN[min(want.tries, len(_AGAIN) - 1)]
                want.tries += 1
                _log.warning("prior not fetched, will be tried again", fault=str(fault))
                if want.due < want.until:
                    continue
            except ValueError as fault:
                _log.warning("prior cannot be asked for", fault=str(fault))
            except Exception as fault:  # noqa: BLE001 - the thread must outlive any one patient
                _log.error("prior not fetched", kind=type(fault).__name__)  # the message may quote header values
            with self._lock:
                self._wants[uid] = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.turn(self._now())
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _bring(self, want: _Want) -> None:
        assert self._peer is not None
        found = mr_series_of(self._peer, self._local, _sought(want.scan, self._before))
        new = [item for item in found if not self._known(item.series_uid)]
        chosen = choose(new, want.scan.header, most=self._settings.most_series)
        _log.info("priors listed", series=len(found), new=len(new), chosen=len(chosen))
        for item in chosen:
            if self._stopping.is_set():
                return
            got = self._fetch(self._peer, item)
            _log.info("prior fetched", instances=got.completed, failed=got.failed)
            self._on_fetched()

    def _fetch(self, peer: Peer, item: SeriesFound) -> Retrieved:
        if self._settings.method == "move":
            return move_series(peer, self._local, item.study_uid, item.series_uid)
        return get_series(
            peer, self._local, item.study_uid, item.series_uid, receive=self._receive, on_ended=self._on_ended
        )


def choose(found: Sequence[SeriesFound], scan: InstanceHeader, *, most: int) -> tuple[SeriesFound, ...]:
    """Which series to fetch as partners of `scan`: those named like it if there are any, else all that may be heads.

    A name decides on what is fetched only, never on what is paired.
    """
    whole = [item for item in found if item.instances in (None, _MULTI_FRAME) or item.instances >= _FEWEST_SLICES]
    names = {_plain(scan.series_description), _plain(scan.protocol_name)} - {""}
    alike = [item for item in whole if names & {_plain(item.description), _plain(item.protocol)}]
    return tuple((alike or whole)[:most])


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _sought(scan: SeriesSummary, before: timedelta) -> PatientSought:
    assert scan.acquired_at is not None
    latest = scan.acquired_at.date()
    return PatientSought(
        patient_id=scan.header.patient_id,
        birth_date=scan.header.patient_birth_date,
        earliest=latest - timedelta(days=before.days + 1),
        latest=latest,
    )
