"""The log: structlog for our own records, everybody else's joined in, and no patient data in either.

Our own records name facts by key; keys that hold patient data are dropped here in case one slips in.
Exceptions are reduced to kind and place, since their texts may quote header values, unless they are ours.
Of other libraries only warnings and worse are taken: at lower levels some write whole data sets. Where the text of
theirs has to go, one record of each place is enough; how many more there were is said at the end.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from threading import Lock
from typing import Any, Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.errors import Csf24Error

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Format: TypeAlias = Literal["console", "json"]

_OURS = ("service", "training")
_QUOTES_VALUES = ("pydicom", "pynetdicom", "highdicom")
_NOT_LETTERS = re.compile(r"[^a-z]")
_PATIENT_KEYS = frozenset(
    {
        "accessionnumber",
        "birthdate",
        "dataset",
        "dateofbirth",
        "ds",
        "encodeddataset",
        "header",
        "headers",
        "identifier",
        "injectiontime",
        "institutionname",
        "mrn",
        "operatorsname",
        "otherpatientids",
        "performingphysicianname",
        "personname",
        "referringphysicianname",
        "studydescription",
        "studyid",
    }
)


def configure_logging(level: Level, format: Format, stream: TextIO) -> None:
    """Set up the log of this process; said again, the last word counts.

    Parameters
    ----------
    level
        Of our own records.
    format
        ``"console"`` for people, ``"json"`` for one object a line.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        reduce_exception,
        withhold_patient_data,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    earlier = [found for found in root.handlers if isinstance(found, _Handler)]
    handler = _Handler(stream, earlier[-1].said if earlier else Counter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[withhold_foreign_text, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    for found in earlier:
        root.removeHandler(found)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours among those on the root logger; says a record without its text once for each place.

    Attributes
    ----------
    said
        How many such records each place gave, also to the handlers that this one follows.
    """

    def __init__(self, stream: TextIO, said: Counter[str]) -> None:
        super().__init__(stream)
        self.said = said
        self._said_lock = Lock()
        self.addFilter(self._is_news)

    def _is_news(self, record: logging.LogRecord) -> bool:
        if not _is_withheld(record):
            return True
        with self._said_lock:
            self.said[_place(record)] += 1
            return self.said[_place(record)] == 1

    def close(self) -> None:
        """Also says how often each of those places came again."""
        repeated = {place: n - 1 for place, n in self.said.items() if n > 1}
        self.said.clear()
        for place, count in repeated.items() if not self.stream.closed else ():
            said = {"name": __name__, "levelname": "WARNING", "levelno": logging.WARNING}
            self.emit(logging.makeLogRecord(said | {"msg": f"{count} more with their text withheld ({place})"}))
        super().close()


def withhold_patient_data(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop keys that hold patient data, at any depth, and whatever pydicom made; ``withheld`` names the keys."""
    withheld: list[str] = []
    clean = _clean(event, withheld)
    if withheld:
        clean["withheld"] = sorted(withheld)
    return clean


def reduce_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put kind and places for an exception's traceback; the text of our own errors stays, by rule it is clean."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    if isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        frames = traceback.extract_tb(found.__traceback__)
        event["kind"] = type(found).__name__
        event["places"] = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        if isinstance(found, Csf24Error):
            event["fault"] = str(found)
    return event


def withhold_foreign_text(logger: WrappedLogger, _: str, event: EventDict) -> EventDict:
    """Of warnings and of DICOM libraries keep where and what kind: their texts quote the values they complain of."""
    record: logging.LogRecord | None = event.get("_record")
    name = record.name if record is not None else getattr(logger, "name", "")
    if name == "py.warnings":
        event["event"] = ": ".join(str(event["event"]).split(": ", 2)[:2])  # file:line: category: text
    elif record is not None and _is_withheld(record):
        event["event"] = f"text withheld, it may quote header values ({_place(record)})"
    return event


def _is_withheld(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _QUOTES_VALUES


def _place(record: logging.LogRecord) -> str:
    return f"{record.filename}:{record.lineno}"


def _clean(values: Mapping[str, Any], withheld: list[str]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in values.items():
        if _holds_patient_data(key, value):
            withheld.append(str(key))
        elif isinstance(value, Mapping):
            clean[key] = _clean(value, withheld)
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) or _is_dicom(item) for item in value):
            clean[key] = [
                _clean(item, withheld) if isinstance(item, Mapping) else item for item in value if not _is_dicom(item)
            ]
        else:
            clean[key] = value
    return clean


def _holds_patient_data(key: str, value: object) -> bool:
    letters = _NOT_LETTERS.sub("", str(key).lower())
    return letters.startswith("patient") or letters in _PATIENT_KEYS or _is_dicom(value)


def _is_dicom(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "pydicom" and type(value).__name__ != "UID"
