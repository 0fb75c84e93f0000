"""What people have been told, and what they are to be told next. Pure.

An event is told once when it has begun and once when it is over. What begins or ends within one window goes into one
message; what begins and ends within it is not told; what comes back before its end was told has not ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from service.monitoring.notifications.alarms import Alarm, Kind, Sighting

_AUDIT = Alarm(key="audit", kind=Kind.AUDIT_LOST, subject="audit trail")
_AUDIT_QUIET = timedelta(minutes=10)
_HOUR = timedelta(hours=1)
MOST_LISTED = 50
"""Events that one message names of each sort; it counts all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is wanted.

    Attributes
    ----------
    retrying
        A case that is tried again is red after so long.
    window
        From the first event to the message, so that others join it.
    per_hour
        Messages at most; what they keep waiting goes into the next.
    """

    retrying: timedelta
    window: timedelta
    per_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something red: since when, whether people know, and when it ended, if it has."""

    alarm: Alarm
    since: datetime
    told: bool = False
    over: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLoss:
    """Audit messages lost by the process that started then, and when the last was seen to be."""

    process_started_at: datetime
    lost: int
    grew_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes to everybody.

    Attributes
    ----------
    identity
        The same for a message that is sent again after a crash.
    begun, over
        At most `MOST_LISTED` of each; the counts are of all.
    red
        Everything that is red now, told before or here.
    """

    identity: str
    at: datetime
    begun: tuple[Event, ...]
    over: tuple[Event, ...]
    begun_count: int
    over_count: int
    red: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Events by the key of their alarm, when the last hour's messages were made, and what the audit trail lost."""

    events: Mapping[str, Event] = field(default_factory=dict)
    made_at: tuple[datetime, ...] = ()
    audit: AuditLoss | None = None


def follow(account: Account, sighting: Sighting, now: datetime, terms: Terms) -> tuple[Account, Message | None]:
    """Take in what was seen; the new account, and the message that is due."""
    audit = _audit(account.audit, sighting, now)
    alarms = {alarm.key: alarm for alarm in sighting.alarms}
    if audit is not None and audit.grew_at is not None and now - audit.grew_at < _AUDIT_QUIET:
        alarms[_AUDIT.key] = _AUDIT
    events = {
        key: event
        for key, known in account.events.items()
        if key not in alarms and (event := _gone(known, sighting, now, terms)) is not None
    }
    events |= {key: _present(account.events.get(key), alarm, now) for key, alarm in alarms.items()}
    made_at = tuple(at for at in account.made_at if now - at < _HOUR)
    seen = Account(events=events, made_at=made_at, audit=audit)
    begun = [event for key, event in events.items() if key in alarms and _untold(event, now, terms)]
    over = [event for event in events.values() if event.over is not None]
    waiting = [*(_red_at(event, terms) for event in begun), *(event.over for event in over if event.over is not None)]
    if not waiting or now - min(waiting) < terms.window or len(made_at) >= terms.per_hour:
        return seen, None
    told = {key: replace(event, told=event.told or event in begun) for key, event in events.items() if not event.over}
    message = _message(begun, over, red=sum(event.told for event in told.values()), now=now)
    return replace(seen, events=told, made_at=(*made_at, now)), message


def _audit(known: AuditLoss | None, sighting: Sighting, now: datetime) -> AuditLoss | None:
    """The count is a process's own and begins at nought with it."""
    if sighting.process_started_at is None:
        return known
    same = known is not None and known.process_started_at == sighting.process_started_at
    before = known.lost if known is not None and same else 0
    grew_at = now if sighting.audit_lost > before else known.grew_at if known is not None else None
    return AuditLoss(process_started_at=sighting.process_started_at, lost=sighting.audit_lost, grew_at=grew_at)


def _present(known: Event | None, alarm: Alarm, now: datetime) -> Event:
    if known is None:
        return Event(alarm=alarm, since=now)
    # A person had it tried again, and it goes on failing: that is no news.
    still_failing = known.alarm.kind is Kind.CASE_FAILED and alarm.kind is Kind.CASE_RETRYING
    if known.alarm.kind is alarm.kind or still_failing:
        return replace(known, over=None)
    return Event(alarm=alarm, since=now)


def _gone(event: Event, sighting: Sighting, now: datetime, terms: Terms) -> Event | None:
    """An event that is red no longer, as far as can be seen; None when nobody needs to know of it."""
    key, failing = event.alarm.key, event.alarm.kind in (Kind.CASE_FAILED, Kind.CASE_RETRYING)
    if event.over is not None or key.startswith(sighting.unseen) or (failing and key in sighting.working):
        return event
    if event.told or now - _red_at(event, terms) >= terms.window:
        return replace(event, over=now)
    return None


def _red_at(event: Event, terms: Terms) -> datetime:
    return event.since + terms.retrying if event.alarm.kind is Kind.CASE_RETRYING else event.since


def _untold(event: Event, now: datetime, terms: Terms) -> bool:
    return not event.told and event.over is None and _red_at(event, terms) <= now


def _message(begun: Iterable[Event], over: Iterable[Event], *, red: int, now: datetime) -> Message:
    new, ended = _worst_first(begun), _worst_first(over)
    parts = [now.isoformat(), *(f"+{event.alarm.key}" for event in new), *(f"-{event.alarm.key}" for event in ended)]
    return Message(
        identity=hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32],
        at=now,
        begun=new[:MOST_LISTED],
        over=ended[:MOST_LISTED],
        begun_count=len(new),
        over_count=len(ended),
        red=red,
    )


def _worst_first(events: Iterable[Event]) -> tuple[Event, ...]:
    order = list(Kind)
    return tuple(sorted(events, key=lambda event: (order.index(event.alarm.kind), event.since, event.alarm.key)))
