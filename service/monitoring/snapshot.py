"""What the status page, the health checks and the metrics see of the service: plain records that the app fills.

Nothing here holds patient data: ids are the ledger's own, and of a `Case` the page shows neither
series UIDs nor the time of injection. Only who may act on a held case sees the UIDs and times of the
series to choose from (`SeriesChoice`). Every datetime is aware and is shown in the zone it comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from service.cases import Case, CaseEvent, CaseState
from service.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class FactGroup:
    """Named values under a title, e.g. the figures of a registration; `rows` are (name, value)."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """How far one destination has got with one case; `status` is its last answer other than success."""

    destination: str
    delivered: int
    deliverable: int
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One acceptance check; `measures` says in words what its figure is."""

    code: str
    measures: str
    measured: float | None
    limit: str
    verdict: Literal["pass", "warn", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneView:
    """Sections in one plane, 1 mm apart: how many, the one through the brain's centre, and their pictures' size."""

    name: str
    count: int
    middle: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowsingView:
    """What can be leafed through.

    Attributes
    ----------
    layers
        Names of volumes, in the order they are shown.
    registered
        The delayed scan lies on the baseline; otherwise where the scanner had it.
    """

    layers: tuple[str, ...]
    planes: tuple[PlaneView, ...]
    registered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesChoice:
    """A series that a person may choose for a held case; `text` tells it from the patient's others."""

    uid: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionRequest:
    """One picture: a layer or an overlay (`view`), a plane, and the number of the section, from 0."""

    view: str
    plane: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingView:
    """So many series of one patient wait for another or for the rest of themselves; a person is asked at `until`."""

    series: int
    since: datetime
    until: datetime | None
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionErrorView:
    """How a prediction did in one region, in units of orbital fat signal; `persistence_error` is the delayed scan's."""

    name: str
    error: float
    persistence_error: float
    bias: float
    increase: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUpView:
    """The scan acquired at the time that was predicted, and how the prediction did against it.

    Attributes
    ----------
    state
        ``wanted`` (not compared yet), ``judged``, ``refused`` or ``failed``.
    scanner, model
        Empty unless judged.
    coverage
        Share of voxels inside the predicted interval; None for a model without one.
    """

    case_id: str
    state: str
    hours: float
    wanted_at: datetime
    judged_at: datetime | None = None
    scanner: str = ""
    model: str = ""
    regions: tuple[RegionErrorView, ...] = ()
    coverage: float | None = None
    index_predicted: float | None = None
    index_acquired: float | None = None
    grade_predicted: str = ""
    grade_acquired: str = ""
    reasons: tuple[Reason, ...] = ()
    simulated_patient: bool = False

    def region(self, name: str) -> RegionErrorView | None:
        """Of that name, if the prediction covers it."""
        return next((region for region in self.regions if region.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """A case with what is known beside the ledger's row.

    Attributes
    ----------
    retrying
        A failed case that the queue tries again without a person.
    events
        History, oldest first; only the page of the case needs it.
    timings_s
        Seconds per stage in the order of the stages, without a total; empty until converted.
    has_picture
        A preview can be fetched.
    checks
        In the order they were made.
    browsing
        None when there are no volumes to leaf through.
    simulated_patient
        The scans are our simulator's; no patient exists.
    follow_up
        None while no scan of the predicted time has come.
    """

    case: Case
    retrying: bool = False
    warnings: tuple[Reason, ...] = ()
    events: tuple[CaseEvent, ...] = ()
    deliveries: tuple[DeliveryView, ...] = ()
    facts: tuple[FactGroup, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    has_picture: bool = False
    checks: tuple[CheckView, ...] = ()
    browsing: BrowsingView | None = None
    simulated_patient: bool = False
    follow_up: FollowUpView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerView:
    """The DICOM listener; `listening` is whether its port is open."""

    ae_title: str
    host: str
    port: int
    tls: bool
    listening: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskView:
    """The file system of the spool, in bytes; below `required_bytes` associations are refused."""

    free_bytes: int
    total_bytes: int
    required_bytes: int

    @property
    def short(self) -> bool:
        """Too little is free to receive."""
        return self.free_bytes < self.required_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """Jobs waiting for a slot, and taken by a worker."""

    waiting: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """The loaded model; `provider` is the execution provider that really runs."""

    name: str
    version: str
    sha256: str
    provider: str
    simulated_training: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineView:
    """A process of the service, here or on another machine.

    Attributes
    ----------
    roles
        ``listen``, ``work``.
    state
        ``silent`` once it has missed its heartbeats, ``lost`` once others have taken over its work.
    """

    name: str
    host: str
    roles: tuple[str, ...]
    state: Literal["alive", "silent", "lost"]
    heard_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerView:
    """A destination; `answers` is None until it was asked, `problem` says why it does not answer."""

    name: str
    ae_title: str
    host: str
    port: int
    answers: bool | None = None
    checked_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationView:
    """The last association that somebody asked for."""

    calling_ae: str
    at: datetime
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFigures:
    """What the ledger holds.

    Attributes
    ----------
    conflicts
        Instances that arrived again under the same UID with other content.
    rejected
        Received objects that were set aside.
    series_unsettled
        Series that may still grow.
    deliveries
        Instances to deliver by state (pending, sent, confirmed, failed).
    refused
        Of the cases that are done, those that ended in a refusal.
    """

    instances: int
    instance_bytes: int
    conflicts: int
    rejected: int
    series_unsettled: int
    cases: Mapping[CaseState, int]
    deliveries: Mapping[str, int]
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSnapshot:
    """The service at one moment.

    Attributes
    ----------
    listener, queue, model
        None where this process does not listen, or not work.
    machines
        All processes that share the ledger, this one too; none while it cannot be reached.
    ledger
        None while the ledger cannot be reached; `ledger_problem` then says why.
    cases
        Every case that is not finished, and the newest predicted, refused and discarded ones; newest change first.
    waiting
        Series that have no case yet, the longest first.
    follow_ups
        Scans acquired at the time that was predicted, the first that came first.
    associations
        Open at the listener now.
    audit_lost
        Audit messages that reached neither file nor syslog since the start.
    notifications
        Messages to people since the start, by channel and result; empty where none are configured.
    refused
        How often since the start the listener refused something, by what it was and why.
    """

    taken_at: datetime
    started_at: datetime
    disk: DiskView
    listener: ListenerView | None = None
    queue: QueueView | None = None
    model: ModelView | None = None
    machines: tuple[MachineView, ...] = ()
    peers: tuple[PeerView, ...] = ()
    last_association: AssociationView | None = None
    associations: int = 0
    audit_lost: int = 0
    notifications: Mapping[tuple[str, str], int] = field(default_factory=dict)
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ledger: LedgerFigures | None = None
    ledger_problem: str = ""
    cases: tuple[CaseView, ...] = ()
    follow_ups: tuple[FollowUpView, ...] = ()
    waiting: tuple[WaitingView, ...] = ()
