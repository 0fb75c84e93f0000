"""The ledger as the place where reports on storage commitment wait for who asked; part of the composition root."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from service.network.commitment import CommitmentReport
from service.storage.commitment_ledger import CommitmentLedger


class LedgerReportBox:
    """A `service.network.commitment.ReportBox` for all processes that share a ledger."""

    def __init__(self, commitments: CommitmentLedger, now: Callable[[], datetime]) -> None:
        self._commitments = commitments
        self._now = now

    def expect(self, transaction_uid: str) -> None:
        """A report on this transaction may come to any process."""
        self._commitments.expect(transaction_uid, self._now())

    def put(self, report: CommitmentReport) -> bool:
        """Keep it; False when nobody expects it."""
        text = json.dumps({"committed": sorted(report.committed), "failed": dict(report.failed)})
        return self._commitments.put(report.transaction_uid, text)

    def look(self, transaction_uid: str) -> CommitmentReport | None:
        """The report, if it has come."""
        text = self._commitments.report(transaction_uid)
        if text is None:
            return None
        kept = json.loads(text)
        return CommitmentReport(
            transaction_uid=transaction_uid, committed=frozenset(kept["committed"]), failed=kept["failed"]
        )

    def forget(self, transaction_uid: str) -> None:
        """Nobody waits for it any more."""
        self._commitments.forget(transaction_uid)
