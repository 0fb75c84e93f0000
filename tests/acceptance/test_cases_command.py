"""csf24 cases as an administrator types it, on a ledger as a service leaves it; no service runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from service.cases import CaseOutcome, CaseState, case_id_for
from service.cli import main
from service.errors import Reason
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.storage.waiting_ledger import WaitingSeries
from service.storage.work_ledger import DeliveryState
from tests.builders.received import NOON, make_stored, series_uid
from tests.builders.t1_series import INJECTION, after, t1_headers

HELD = case_id_for(series_uid(1), series_uid(2))
DONE, FAILED, REFUSED = "c00000000d0e", "c0000000fa11", "c000000ef05d"
UNKNOWN = "c123456789ab"
MISSING = Reason(code="INJECTION_TIME_MISSING", message="Nobody says when; use --injection-time.")
NO_TRACER = Reason(code="NO_TRACER", message="No tracer was found.", measured=0.01, limit=0.05)
DOWN = Reason(code="PEER_UNAVAILABLE", message="PACS did not answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command left on the screen."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The entry point of the console script, in a folder of its own on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def csf24(*arguments: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["csf24", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        code = ended.value.code
        return Ran(status=code if isinstance(code, int) else 0, out=shown.out, err=shown.err)

    return csf24


@pytest.fixture
def ledger(run: Run, seeded: Path) -> Iterator[Ledger]:
    """The working folder's, a copy of the seeded one."""
    shutil.copytree(seeded, "csf24-data")
    ledger = Ledger.open("sqlite:///csf24-data/ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a service with a held, a done, a failed and a refused case; the done one's result is in the spool."""
    folder = tmp_path_factory.mktemp("seeded")
    spool = Spool(folder / "spool", min_free_bytes=0)
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
    for series, hours in ((1, -1.0), (2, 1.5)):
        for header in t1_headers(series, after(hours), slices=range(75), spacing=2.0):
            ledger.instances.record(make_stored(header, at=NOON), header)
    ledger.cases.open(
        HELD,
        state=CaseState.HELD,
        patient_key="k",
        baseline_series_uid=series_uid(1),
        delayed_series_uid=series_uid(2),
        reasons=(MISSING,),
        now=NOON,
    )
    for minutes, (case_id, outcome, reasons) in enumerate(
        [
            (DONE, CaseOutcome.PREDICTED, ()),
            (REFUSED, CaseOutcome.REFUSED, (NO_TRACER,)),
            (FAILED, CaseOutcome.PREDICTED, ()),
        ],
        start=1,
    ):
        now = NOON + timedelta(minutes=minutes)
        ledger.cases.open(case_id, state=CaseState.QUEUED, patient_key="k", now=now)
        ledger.cases.transition(case_id, expected=[CaseState.QUEUED], to=CaseState.RUNNING, now=now)
        ledger.cases.transition(
            case_id,
            expected=[CaseState.RUNNING],
            to=CaseState.SENDING,
            outcome=outcome,
            reasons=reasons,
            now=now,
        )
        if case_id == FAILED:
            ledger.cases.fail(case_id, 1, (DOWN,), retrying=False, now=now)
            continue
        ledger.deliveries.plan(case_id, 1, ["PACS"], ["1.2.3", "1.2.4"], now)
        ledger.deliveries.mark(case_id, 1, "PACS", ["1.2.3", "1.2.4"], DeliveryState.CONFIRMED, now=now)
        ledger.cases.transition(case_id, expected=[CaseState.SENDING], to=CaseState.DONE, now=now)
    spool.publish_result(DONE, 1, _result)
    spool.close()
    ledger.close()
    return folder


def _result(draft: Path) -> None:
    (draft / "predicted").mkdir()
    (draft / "predicted" / "0001.dcm").write_bytes(b"object")
    (draft / "report.json").write_text("{}")


def test_list_shows_every_case_with_the_last_changed_first(run: Run, ledger: Ledger) -> None:
    shown = run("cases", "list")
    assert shown.status == 0
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    ids = [line.split()[0] for line in lines if line.startswith("  c") and not line.startswith("  case")]
    assert ids == [FAILED, REFUSED, DONE, HELD]
    assert "done, refused" in shown.out and "2/2" in shown.out and "03-04 12:01" in shown.out
    assert "…" not in shown.out
    assert "INJECTION_TIME_MISSING" in shown.out


def test_list_breaks_no_code_however_long_on_a_terminal_of_80_columns(run: Run, ledger: Ledger) -> None:
    longest = ("BASELINE_NOT_BEFORE_INJECTION", "BASELINE_NOT_BEFORE_DELAYED")
    reasons = tuple(Reason(code=code, message="Why.") for code in longest)
    ledger.cases.open("c0", state=CaseState.HELD, patient_key="k", reasons=reasons, now=NOON)
    lines = run("cases", "list").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.strip() for line in lines} >= set(longest)


def test_hours_are_rounded_to_be_read_and_exact_for_scripts(run: Run, ledger: Ledger) -> None:
    later = INJECTION - timedelta(minutes=1, seconds=47)
    run("cases", "release", HELD, "--injection-time", later.isoformat())
    exact = json.loads(run("cases", "show", HELD, "--json").out)["hours_after_injection"]
    assert exact == 1.5 + 107 / 3600
    said = run("cases", "show", HELD).out
    assert re.search(r"^hours_after_injection +1\.53$", said, re.MULTILINE)


def test_models_are_listed_with_whole_hash_and_folder_at_80_columns(run: Run) -> None:
    shown = run("models", "list")
    models = json.loads(run("models", "list", "--json").out)
    assert (shown.status, len(models) >= 2, "…" in shown.out) == (0, True, False)
    for model in models:
        assert f"sha256 {model['sha256']}\n" in shown.out
        assert f"folder {model['directory']}\n" in shown.out


def test_list_can_be_narrowed_to_states_and_read_by_scripts(run: Run, ledger: Ledger) -> None:
    everything = json.loads(run("cases", "list", "--json").out)
    assert [(case["case_id"], case["state"], case["outcome"]) for case in everything] == [
        (FAILED, "failed", "predicted"),
        (REFUSED, "done", "refused"),
        (DONE, "done", "predicted"),
        (HELD, "held", None),
    ]
    assert everything[1]["reasons"] == [
        {"code": "NO_TRACER", "message": "No tracer was found.", "measured": 0.01, "limit": 0.05}
    ]
    some = json.loads(run("cases", "list", "--json", "--state", "held", "--state", "failed").out)
    assert [case["case_id"] for case in some] == [FAILED, HELD]
    assert run("cases", "list", "--state", "running").out == "no cases\n"
    assert json.loads(run("cases", "list", "--state", "running", "--json").out) == []
    wrong = run("cases", "list", "--state", "lost")
    assert wrong.status == 2
    assert "lost" in wrong.err


def test_show_says_why_what_happened_and_where_the_result_lies(run: Run, ledger: Ledger) -> None:
    shown = run("cases", "show", HELD)
    assert shown.status == 0
    assert "INJECTION_TIME_MISSING\n  Nobody says when; use --injection-time." in shown.out
    assert "2026-03-04 12:00:00Z  held" in shown.out
    assert "(measured 0.01, limit 0.05)" in run("cases", "show", REFUSED).out

    document = json.loads(run("cases", "show", DONE, "--json").out)
    assert [event["kind"] for event in document["events"]] == ["queued", "running", "sending", "done"]
    assert Path(document["result"]).resolve() == Path(f"csf24-data/spool/results/{DONE}/r1").resolve()
    assert (document["delivered"], document["deliverable"]) == (2, 2)
    assert json.loads(run("cases", "show", HELD, "--json").out)["result"] is None


def test_retry_converts_anew_what_failed_or_is_done(run: Run, ledger: Ledger) -> None:
    assert run("cases", "retry", FAILED).out == f"case {FAILED} is queued, revision 2\n"
    document = json.loads(run("cases", "retry", REFUSED, "--json").out)
    assert (document["state"], document["revision"], document["outcome"]) == ("queued", 2, None)
    again = run("cases", "retry", FAILED)
    assert (again.status, again.err) == (1, f"case {FAILED} is queued and cannot become queued\n")
    assert run("cases", "retry", DONE).out == f"case {DONE} is queued, revision 2\n"
    assert (ledger.cases.case(DONE).replaces, ledger.cases.case(FAILED).replaces) == (1, 0)
    assert run("cases", "retry", HELD).status == 1


def test_series_that_have_no_case_yet_are_listed_with_what_they_wait_for(run: Run, ledger: Ledger) -> None:
    ledger.waiting.replace("k", [WaitingSeries(series=1, since=NOON, until=NOON, reasons=(MISSING,))])
    listed = run("cases", "list").out
    assert f"no case yet, 1 series wait, until {NOON:%m-%d %H:%M} UTC: INJECTION_TIME_MISSING" in listed
    assert "no case yet" not in run("cases", "list", "--state", "held").out


def test_a_wrong_time_of_a_refused_case_can_be_corrected(run: Run, ledger: Ledger) -> None:
    corrected = run("cases", "release", REFUSED, "--injection-time", INJECTION.isoformat(), "--json")
    assert corrected.status == 0
    case = ledger.cases.case(REFUSED)
    assert (case.state, case.revision, case.injection_time) == (CaseState.QUEUED, 2, INJECTION)
    assert ledger.cases.events(REFUSED)[-1].text == "injection time corrected by a person"


def test_release_queues_a_held_case_with_the_time_that_was_missing(run: Run, ledger: Ledger) -> None:
    released = run("cases", "release", HELD, "--injection-time", INJECTION.isoformat(), "--json")
    assert released.status == 0
    document = json.loads(released.out)
    assert (document["state"], document["reasons"], document["hours_after_injection"]) == ("queued", [], 1.5)
    assert document["injection_time"] == INJECTION.isoformat()
    assert run("cases", "release", HELD).err == f"case {HELD} is queued and cannot become queued\n"


@pytest.mark.parametrize("time", ["half past nine", "2026-03-04", "2026-03-04T25:00", "09:30"])
def test_a_time_that_is_none_or_leaves_the_hour_open_releases_nothing(run: Run, ledger: Ledger, time: str) -> None:
    refused = run("cases", "release", HELD, "--injection-time", time)
    assert refused.status == 2
    assert refused.err.startswith(f"injection time: found '{time}'; accepted: ISO 8601 with a time, e.g. 2026")
    assert ledger.cases.case(HELD).state is CaseState.HELD


def test_release_takes_only_series_that_were_received_and_two_of_them(run: Run, ledger: Ledger) -> None:
    stranger = run("cases", "release", HELD, "--baseline", "1.2.3.4")
    assert (stranger.status, stranger.err) == (2, "series 1.2.3.4: nothing of it has been received\n")
    same = run("cases", "release", HELD, "--baseline", series_uid(2))
    assert (same.status, "needs a baseline and a delayed series" in same.err) == (1, True)
    swapped = run("cases", "release", HELD, "--baseline", series_uid(2), "--delayed", series_uid(1), "--json")
    assert json.loads(swapped.out)["case_id"] == case_id_for(series_uid(2), series_uid(1))
    assert ledger.cases.case(HELD).state is CaseState.DISCARDED


def test_discard_closes_what_is_not_done(run: Run, ledger: Ledger) -> None:
    assert run("cases", "discard", HELD).out == f"case {HELD} is discarded, revision 1\n"
    done = run("cases", "discard", DONE)
    assert (done.status, done.err) == (1, f"case {DONE} is done and cannot become discarded\n")


def test_export_copies_the_result_with_its_history_and_overwrites_nothing(run: Run, ledger: Ledger) -> None:
    assert run("cases", "export", DONE, "--out", "out").out == f"out/{DONE}\n"
    assert Path(f"out/{DONE}/predicted/0001.dcm").read_bytes() == b"object"
    history = json.loads(Path(f"out/{DONE}/case.json").read_text())
    assert [event["kind"] for event in history["events"]][-1] == "done"
    again = run("cases", "export", DONE, "--out", "out")
    assert (again.status, again.err) == (2, f"out/{DONE} is there already; choose another folder\n")
    nothing = run("cases", "export", HELD, "--out", "out")
    assert (nothing.status, nothing.err) == (1, f"case {HELD} is held and has no result to export\n")
    Path("file").touch()
    blocked = run("cases", "export", DONE, "--out", "file/below")
    assert (blocked.status, "cannot be written" in blocked.err) == (1, True)


@pytest.mark.parametrize(
    "command", [["show"], ["retry"], ["release"], ["discard"], ["export", "--out", "out"]], ids=lambda c: c[0]
)
def test_an_unknown_case_is_one_line_and_status_1(run: Run, ledger: Ledger, command: list[str]) -> None:
    failed = run("cases", command[0], UNKNOWN, *command[1:])
    assert (failed.status, failed.out) == (1, "")
    assert failed.err == f"there is no case '{UNKNOWN}'; `csf24 cases list` shows those there are\n"


@pytest.mark.parametrize("there_is", ["nothing", "an empty folder"])
def test_where_no_service_has_run_nothing_is_made_and_the_config_is_asked_for(
    run: Run, tmp_path: Path, there_is: str
) -> None:
    if there_is == "an empty folder":
        (tmp_path / "csf24-data").mkdir()
    before = list(tmp_path.rglob("*"))
    failed = run("cases", "list")
    assert failed.status == 2
    assert failed.err.startswith("csf24-data/ledger.sqlite: no such file, so no service has run")
    assert "--config" in failed.err
    assert list(tmp_path.rglob("*")) == before


def test_the_services_own_configuration_leads_to_its_ledger(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    config = tmp_path / "elsewhere" / "csf24.toml"
    config.write_text(f'[storage]\ndirectory = "{tmp_path}/csf24-data"\n')
    assert len(json.loads(run("cases", "list", "--json", "--config", str(config)).out)) == 4
    config.write_text("[storage]\ndirectry = 1\n[listener]\nport = 0\n")
    broken = run("cases", "list", "--config", str(config))
    assert broken.status == 2
    assert "storage.directry: unknown key" in broken.err and "listener.port: found 0" in broken.err
