"""Account and waiting messages as text, so that they outlive the process that leads. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.monitoring.notifications.account import Account, AuditLoss, Event, Message
from service.monitoring.notifications.alarms import Alarm, Kind

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What one leader leaves to the next; `waiting` are messages that a channel has not taken, by the channel."""

    account: Account = field(default_factory=Account)
    waiting: Mapping[str, tuple[Message, ...]] = field(default_factory=dict)


def encode(saved: Saved) -> str:
    """JSON."""
    account = saved.account
    return json.dumps(
        {
            "version": _VERSION,
            "events": [_of_event(event) for event in account.events.values()],
            "made_at": [at.isoformat() for at in account.made_at],
            "audit": _of_audit(account.audit),
            "waiting": {name: [_of_message(message) for message in queue] for name, queue in saved.waiting.items()},
        }
    )


def decode(text: str) -> Saved:
    """Of `encode`.

    Raises
    ------
    ValueError
        It is none, or of another version.
    """
    try:
        found = json.loads(text)
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']}")
        events = [_event(item) for item in found["events"]]
        account = Account(
            events={event.alarm.key: event for event in events},
            made_at=tuple(datetime.fromisoformat(at) for at in found["made_at"]),
            audit=_audit(found["audit"]),
        )
        waiting = {name: tuple(_message(item) for item in queue) for name, queue in found["waiting"].items()}
    except (KeyError, TypeError, AttributeError) as fault:
        raise ValueError("not what was written") from fault
    return Saved(account=account, waiting=waiting)


def _of_event(event: Event) -> dict[str, Any]:
    alarm = event.alarm
    return {
        "key": alarm.key,
        "kind": alarm.kind.value,
        "subject": alarm.subject,
        "codes": list(alarm.codes),
        "since": event.since.isoformat(),
        "told": event.told,
        "over": _of_time(event.over),
    }


def _event(item: Mapping[str, Any]) -> Event:
    alarm = Alarm(key=item["key"], kind=Kind(item["kind"]), subject=item["subject"], codes=tuple(item["codes"]))
    since = datetime.fromisoformat(item["since"])
    return Event(alarm=alarm, since=since, told=item["told"], over=_time(item["over"]))


def _of_audit(audit: AuditLoss | None) -> dict[str, Any] | None:
    if audit is None:
        return None
    started_at = audit.process_started_at.isoformat()
    return {"process_started_at": started_at, "lost": audit.lost, "grew_at": _of_time(audit.grew_at)}


def _audit(item: Mapping[str, Any] | None) -> AuditLoss | None:
    if item is None:
        return None
    started_at = datetime.fromisoformat(item["process_started_at"])
    return AuditLoss(process_started_at=started_at, lost=item["lost"], grew_at=_time(item["grew_at"]))


def _of_message(message: Message) -> dict[str, Any]:
    return {
        "identity": message.identity,
        "at": message.at.isoformat(),
        "begun": [_of_event(event) for event in message.begun],
        "over": [_of_event(event) for event in message.over],
        "begun_count": message.begun_count,
        "over_count": message.over_count,
        "red": message.red,
    }


def _message(item: Mapping[str, Any]) -> Message:
    return Message(
        identity=item["identity"],
        at=datetime.fromisoformat(item["at"]),
        begun=tuple(_event(event) for event in item["begun"]),
        over=tuple(_event(event) for event in item["over"]),
        begun_count=item["begun_count"],
        over_count=item["over_count"],
        red=item["red"],
    )


def _of_time(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
