"""Case steps that follow a script and remember what was asked of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock

from service.cases import CaseOutcome
from service.errors import Reason
from service.jobs.port import Converted


class ScriptedSteps:
    """Every step succeeds unless the script says otherwise.

    ``script["deliver"]`` is called with the number of that step's call (from 1); it may raise.
    """

    def __init__(
        self, destinations: tuple[str, ...] = ("PACS",), script: dict[str, Callable[[int], object]] | None = None
    ) -> None:
        self.destinations = destinations
        self.script = script or {}
        self.calls: list[tuple[object, ...]] = []
        self._lock = Lock()

    def _call(self, step: str, *details: object) -> object:
        with self._lock:
            self.calls.append((step, *details))
            number = self.names().count(step)
        return self.script.get(step, lambda _: None)(number)

    def names(self) -> list[object]:
        return [call[0] for call in self.calls]

    def convert(self, case_id: str, revision: int) -> Converted:
        self._call("convert", case_id, revision)
        return Converted(outcome=CaseOutcome.PREDICTED, destinations=self.destinations)

    def deliver(self, case_id: str, revision: int, destination: str) -> None:
        self._call("deliver", destination)

    def confirm(self, case_id: str, revision: int, destination: str) -> bool:
        return self._call("confirm", destination) is not False

    def close(self, case_id: str, revision: int) -> None:
        self._call("close", case_id, revision)

    def retrying(self, case_id: str, revision: int, reason: Reason) -> None:
        self._call("retrying", reason.code)

    def fail(self, case_id: str, revision: int, reasons: Collection[Reason]) -> None:
        self._call("fail", *(reason.code for reason in reasons))
