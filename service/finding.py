"""One line of csf24 doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "FAILED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: what was looked at, how it stands, and what to do."""

    subject: str
    verdict: Verdict
    text: str

    @property
    def failed(self) -> bool:
        """Whether the service cannot work like this."""
        return self.verdict == "FAILED"

    def as_json(self) -> dict[str, str]:
        """For scripts."""
        return {"subject": self.subject, "verdict": self.verdict, "text": self.text}
