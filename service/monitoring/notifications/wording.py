"""A message in words and as JSON. Pure; there is nothing in it but ids, codes, counts, times and the page's address."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.monitoring.notifications.account import Event, Message
from service.monitoring.notifications.alarms import Kind
from service.monitoring.wording import duration, plural, timestamp

_MOST_LINES = 20
_NAMES = {
    Kind.NOT_READY: "not ready to receive",
    Kind.CASE_FAILED: "case failed",
    Kind.CASE_RETRYING: "case failed, still tried again",
    Kind.CASE_HELD: "case held for a person",
    Kind.MACHINE_LOST: "machine lost",
    Kind.AUDIT_LOST: "audit messages lost",
}
_COUNTED = {
    Kind.CASE_FAILED: ("case failed", "cases failed"),
    Kind.CASE_RETRYING: ("case failing", "cases failing"),
    Kind.CASE_HELD: ("case held", "cases held"),
    Kind.MACHINE_LOST: ("machine lost", "machines lost"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """Which installation speaks, and where its status page is, if that was given."""

    host: str
    page_url: str = ""


def subject(message: Message, head: Letterhead) -> str:
    """One line, e.g. ``csf24 on ward-a: 50 cases failed``."""
    begun = _counted(message.begun, message.begun_count)
    over = _counted(message.over, message.over_count)
    parts = [begun] if begun else []
    if over:
        parts.append(f"over: {over}")
    return f"csf24 on {head.host}: {'; '.join(parts) or 'test message'}"


def text(message: Message, head: Letterhead) -> str:
    """For people."""
    lines = [subject(message, head), ""]
    if not (message.begun or message.over):
        lines += ["This is a test by csf24 doctor. Nothing has happened.", ""]
    lines += _listed("Now red:", message.begun, message.begun_count)
    lines += _listed("Over:", message.over, message.over_count)
    if message.begun or message.over:
        lines += [f"In all {plural(message.red, 'thing')} red at {timestamp(message.at)}."]
    if head.page_url:
        lines += [head.page_url]
    return "\n".join(lines).rstrip() + "\n"


def payload(message: Message, head: Letterhead) -> bytes:
    """JSON in UTF-8; ``text`` is what chat receivers show."""
    return json.dumps(
        {
            "text": text(message, head),
            "source": "csf24",
            "host": head.host,
            "id": message.identity,
            "at": message.at.isoformat(),
            "red": message.red,
            "begun_count": message.begun_count,
            "over_count": message.over_count,
            "begun": [_fields(event) for event in message.begun],
            "over": [_fields(event) for event in message.over],
            "page_url": head.page_url,
        }
    ).encode()


def _fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "kind": event.alarm.kind.value,
        "subject": event.alarm.subject,
        "codes": list(event.alarm.codes),
        "since": event.since.isoformat(),
    }
    if event.over is not None:
        fields["over"] = event.over.isoformat()
    return fields


def _counted(events: Sequence[Event], count: int) -> str:
    numbers = Counter(event.alarm.kind for event in events)
    if len(events) < count and len(numbers) == 1:
        numbers = Counter({next(iter(numbers)): count})
    parts = [plural(number, *_COUNTED[kind]) if kind in _COUNTED else _NAMES[kind] for kind, number in numbers.items()]
    if len(events) < count and len(numbers) > 1:
        parts.append(f"{count - len(events)} more")
    return ", ".join(parts)


def _listed(title: str, events: Sequence[Event], count: int) -> Iterable[str]:
    if not events:
        return
    yield title
    yield from _lines(events[:_MOST_LINES])
    if count > _MOST_LINES:
        yield f"- and {count - _MOST_LINES} more"
    yield ""


def _lines(events: Iterable[Event]) -> Iterator[str]:
    for event in events:
        codes = f" ({', '.join(event.alarm.codes)})" if event.alarm.codes else ""
        ended = f", over after {duration(event.over - event.since)}" if event.over else ""
        name, what = _NAMES[event.alarm.kind], event.alarm.subject
        yield f"- {name}: {what}{codes}, since {timestamp(event.since)}{ended}"
