"""What a person's release of a held case means for its times."""

from __future__ import annotations

from datetime import datetime

from service.config import Config
from service.dicom.pair_check import check_pair
from service.dicom.summaries import summarise
from service.storage.ledger import Ledger
from service.wiring import pairing_policy


def hours_after_injection(
    ledger: Ledger, baseline_uid: str, delayed_uid: str, injection_time: datetime | None, config: Config
) -> float | None:
    """Hours between the injection and the delayed series; None when a time is not known."""
    baseline, delayed = (ledger.instances.headers_of(uid) for uid in (baseline_uid, delayed_uid))
    if not (baseline and delayed):
        return None
    checked = check_pair(
        summarise(baseline), summarise(delayed), injection_time=injection_time, policy=pairing_policy(config)
    )
    return checked.hours_after_injection
