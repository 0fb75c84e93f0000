"""A case: one patient's baseline + delayed pair on its way through the service."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.errors import Reason

_CASE_ID_DIGITS = 12


def case_id_for(baseline_series_uid: str, delayed_series_uid: str) -> str:
    """Id of the case of this pair: ``c`` and 12 hexadecimal digits; the same pair gives the same id."""
    return digest_id("pair", baseline_series_uid, delayed_series_uid)


def digest_id(*parts: str) -> str:
    """A case id made from `parts`: stable, and without patient data."""
    return "c" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_CASE_ID_DIGITS]


class CaseState(StrEnum):
    """Where a case stands; the arrows are the only transitions.

    held -> queued | discarded; queued -> running; running -> sending | refused | failed;
    refused -> done after its refusal notice is delivered; sending -> done;
    failed -> queued (retry) | discarded; anything not done -> discarded; done -> queued, as a new revision, when its
    series have grown or a person corrects it. One that pairing itself discarded counts as held when it is wanted again.
    """

    HELD = "held"  # a person must decide or supply something; reasons say what
    QUEUED = "queued"  # paired, waiting for a worker
    RUNNING = "running"  # a worker converts it
    SENDING = "sending"  # result (or refusal notice) is on disk and being delivered
    DONE = "done"  # delivered and confirmed by every destination
    FAILED = "failed"  # a fault of ours or a peer's; red on the page, retried or waiting for a person
    DISCARDED = "discarded"  # closed: by a person, or by pairing that has come to decide otherwise


class CaseOutcome(StrEnum):
    """What came of the conversion."""

    PREDICTED = "predicted"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the ledger.

    Attributes
    ----------
    case_id
        Derived from the two series UIDs, so the same pair is the same case; no patient data.
    baseline_series_uid, delayed_series_uid
        Series Instance UIDs; either may be empty while held.
    injection_time
        Aware or local-naive datetime of the intrathecal injection; None when unknown.
    revision
        Raised when the pair is converted anew (retry by a person, released with other facts).
    delivered, deliverable
        Instances confirmed at the destinations / to be delivered.
    replaces
        How many results of earlier revisions any destination holds, or were done where there is none: what is made
        now says that it replaces them.
    superseded
        Discarded by pairing, which may come to want it again; what a person discarded stays so.
    """

    case_id: str
    state: CaseState
    baseline_series_uid: str
    delayed_series_uid: str
    injection_time: datetime | None
    hours_after_injection: float | None
    outcome: CaseOutcome | None
    reasons: tuple[Reason, ...]
    revision: int
    attempts: int
    delivered: int
    deliverable: int
    created_at: datetime
    updated_at: datetime
    replaces: int = 0
    superseded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEvent:
    """One line of a case's history; `text` has no patient data."""

    case_id: str
    at: datetime
    kind: str
    text: str
