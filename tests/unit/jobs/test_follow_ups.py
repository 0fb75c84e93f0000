"""The comparison of one case after the other: what is kept, and that no fault of one stops the others."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.errors import InputRefused, ModelError, Reason, StorageUnavailable
from service.follow_up import FollowUpJudgement
from service.imaging.agreement import Agreement, RegionAgreement
from service.jobs.follow_ups import FollowUps
from service.storage.follow_up_ledger import MAX_ATTEMPTS, FollowUp, FollowUpState
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from tests.builders.follow_ups import CASE, MUCH_LATER, QUIET, done_case, want
from tests.builders.received import series_uid

REGION = RegionAgreement(voxels=100, error=0.05, persistence_error=0.2, bias=-0.01, increase=0.3)
JUDGEMENT = FollowUpJudgement(
    agreement=Agreement(regions={"fluid": REGION}, coverage=0.88, grade_predicted="3", grade_acquired="4"),
    scanner="Philips Ingenia 17",
    model="volume3d 0.1.0",
    simulated_patient=False,
)


class Bench:
    """Comparisons whose outcome the test decides."""

    def __init__(self, ledger: Ledger, root: Path) -> None:
        self.ledger = ledger
        self.judge: Callable[[], FollowUpJudgement] = lambda: JUDGEMENT
        self.spool = Spool(root / "spool", min_free_bytes=0)
        self.follow_ups = FollowUps(
            ledger, self.spool, lambda _pair, _later: self.judge(), quiet=QUIET, now=lambda: MUCH_LATER
        )
        self.follow_ups._contents = lambda series_uid: [series_uid.encode()]  # what is read is another test's

    def found(self) -> FollowUp:
        found = self.ledger.follow_ups.of(CASE)
        assert found is not None
        return found

    def last_event(self) -> str:
        return self.ledger.cases.events(CASE)[-1].text


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    done_case(ledger)
    want(ledger)
    yield ledger
    ledger.close()


@pytest.fixture
def bench(ledger: Ledger, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(ledger, tmp_path)
    yield bench
    bench.spool.close()


def _raise(fault: Exception) -> Callable[[], FollowUpJudgement]:
    def judge() -> FollowUpJudgement:
        raise fault

    return judge


def test_what_was_measured_is_kept_and_the_history_says_so(bench: Bench) -> None:
    assert bench.follow_ups.tick()
    found = bench.found()
    assert (found.state, found.scanner, found.model) == (FollowUpState.JUDGED, "Philips Ingenia 17", "volume3d 0.1.0")
    assert found.figures["regions"]["fluid"]["error"] == 0.05
    assert found.figures["reflux"]["grade_acquired"] == "4"
    assert bench.last_event() == (
        "compared with the scan acquired 24.0 h after the injection: mean error in fluid 0.050 fat units"
    )
    assert not bench.follow_ups.tick()


def test_a_scan_that_cannot_be_compared_says_why(bench: Bench) -> None:
    bench.judge = _raise(InputRefused(Reason(code="FAT_NOT_FOUND", message="none")))
    assert bench.follow_ups.tick()
    assert bench.found().state is FollowUpState.REFUSED
    assert "FAT_NOT_FOUND" in bench.last_event()


@pytest.mark.parametrize("fault", [ModelError("no answer"), ValueError("SECRET^NAME")])
def test_a_fault_ends_this_comparison_only_and_is_logged_without_its_text(bench: Bench, fault: Exception) -> None:
    bench.judge = _raise(fault)
    with capture_logs() as logs:
        assert bench.follow_ups.tick()
    assert bench.found().state is FollowUpState.FAILED
    assert bench.found().reasons[0].code == "COMPARISON_FAILED"
    assert "SECRET" not in f"{logs}{bench.last_event()}{bench.found()}"
    assert not bench.follow_ups.tick()


def test_a_fault_that_passes_leaves_it_due(bench: Bench) -> None:
    bench.judge = _raise(StorageUnavailable("disk"))
    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(StorageUnavailable):
            bench.follow_ups.tick()
    bench.judge = lambda: JUDGEMENT
    assert bench.follow_ups.tick()
    assert bench.found().state is FollowUpState.JUDGED


def test_a_comparison_that_ends_its_process_again_and_again_is_given_up(bench: Bench) -> None:
    for _ in range(MAX_ATTEMPTS):
        bench.judge = _raise(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            bench.follow_ups.tick()
    bench.judge = lambda: JUDGEMENT
    assert bench.follow_ups.tick()
    assert bench.found().state is FollowUpState.FAILED


def test_images_that_retention_removed_are_asked_for(ledger: Ledger, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    FollowUps(ledger, spool, lambda _pair, _later: JUDGEMENT, quiet=QUIET, now=lambda: MUCH_LATER).tick()
    found = ledger.follow_ups.of(CASE)
    assert found is not None
    assert (found.state, found.reasons[0].code) == (FollowUpState.REFUSED, "SERIES_EMPTY")
    assert ledger.instances.series(series_uid(1)) is None
    spool.close()
