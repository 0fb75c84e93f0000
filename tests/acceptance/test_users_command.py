"""csf24 users, and the page of a running service that uses its file."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from service.cases import CaseState
from service.cli import app
from service.errors import Reason
from service.monitoring.role import Role
from service.monitoring.users_file import UsersFile, read_users, set_user
from tests.builders.html import parse
from tests.builders.received import NOON
from tests.builders.service_process import ServiceProcess

CASE = "c000000000fa1"


def run(*arguments: str, given: str = "") -> str:
    done = CliRunner().invoke(app, ["users", *arguments], input=given)
    assert done.exit_code == 0, done.output
    return done.output


def test_people_are_set_listed_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "users"
    run("set", "anna", "--role", "act", "--file", str(file), "--password-stdin", given="correct horse\n")
    said = run("set", "ward7", "--file", str(file), given="battery staple\nbattery staple\n")

    assert "battery staple" not in said
    assert "ward7 may view" in said
    assert {name: account.role for name, account in read_users(file).items()} == {
        "anna": Role.ACT,
        "ward7": Role.VIEW,
    }
    assert UsersFile(file).check("anna", "correct horse") is not None
    listed = json.loads(run("list", "--json", "--file", str(file)))
    assert listed == [{"name": "anna", "role": "act"}, {"name": "ward7", "role": "view"}]
    run("remove", "ward7", "--file", str(file))
    assert "ward7" not in run("list", "--file", str(file))


def test_two_passwords_that_differ_are_asked_for_again(tmp_path: Path) -> None:
    file = tmp_path / "users"
    run("set", "anna", "--file", str(file), given="correct horse\ncorrect house\ncorrect horse\ncorrect horse\n")

    assert UsersFile(file).check("anna", "correct horse") is not None


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "users"
    done = CliRunner().invoke(app, ["users", "set", "anna", "--file", str(file), "--password-stdin"], input="short\n")

    assert done.exit_code != 0
    assert "accepted: 10 or more" in str(done.exception)
    assert not file.exists()


@pytest.mark.slow
def test_a_running_service_asks_who_it_is_and_takes_up_what_the_button_queued(tmp_path: Path) -> None:
    file = tmp_path / "users"
    set_user(file, "anna", Role.ACT, "correct horse")
    service = ServiceProcess(tmp_path)
    guarded = f'[status_page]\nauthentication = "users"\nusers_file = "{file}"'
    service.config.write_text(service.config.read_text().replace("[status_page]", guarded))
    with service, httpx.Client(base_url=f"http://127.0.0.1:{service.page_port}", trust_env=False) as browser:
        ledger = service.ledger()
        ledger.cases.open(CASE, state=CaseState.QUEUED, patient_key="k", now=NOON)
        ledger.cases.fail(CASE, 1, (Reason(code="INTERNAL_ERROR", message="a fault"),), retrying=False, now=NOON)
        ledger.close()
        assert browser.get(f"/cases/{CASE}").status_code == 303
        fields = {"name": "anna", "password": "correct horse", "proof": proof_on(browser.get("/login"))}
        assert browser.post("/login", data=fields).status_code == 303
        page = browser.get(f"/cases/{CASE}")
        answer = browser.post(f"/cases/{CASE}/retry", data={"proof": proof_on(page)})
        assert answer.status_code == 303

        (case,) = service.await_cases(lambda cases: cases[0].revision == 2 and cases[0].state is CaseState.FAILED)
        assert "no longer in the spool" in case.reasons[0].message  # it was taken up, and there is nothing of it
        assert "retried by anna on the status page" in parse(browser.get(f"/cases/{CASE}").text).text
    assert "user=anna" in service.log()
    assert "correct horse" not in service.log()


def proof_on(page: httpx.Response) -> str:
    return parse(page.text).all("input", name="proof")[-1].attributes["value"]
