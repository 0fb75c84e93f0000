"""Logging in, acting, and everything that is refused: over HTTP, against a real ledger."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from service.case_actions import CaseActions
from service.cases import CaseState
from service.config import Config
from service.errors import ConfigError
from service.monitoring.access import Access, LogIn, Proxied, Viewing
from service.monitoring.role import Role
from service.monitoring.server import StatusServer, TlsFiles
from service.monitoring.users_file import UsersFile, remove_user, set_user
from tests.builders.html import parse
from tests.builders.network import make_certificates
from tests.builders.programs import needs
from tests.builders.ward import Ward

PASSWORDS = {"anna": "correct horse", "ward7": "battery staple"}


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path / "data")
    yield ward
    ward.close()


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    set_user(path, "anna", Role.ACT, PASSWORDS["anna"])
    set_user(path, "ward7", Role.VIEW, PASSWORDS["ward7"])
    return path


def log_in_of(users: Path, *, proxies: tuple[str, ...] = (), secure: bool = False) -> LogIn:
    return LogIn(
        UsersFile(users), lasting=timedelta(hours=8), proxies=proxies, secure=secure, now=lambda: datetime.now(UTC)
    )


Serve = Callable[..., httpx.Client]


@pytest.fixture
def seen() -> list[Viewing]:
    """Whom the page told of pictures that it showed."""
    return []


@pytest.fixture
def serve(ward: Ward, seen: list[Viewing]) -> Iterator[Serve]:
    """Start a page; a browser without a cookie yet."""
    with ExitStack() as stack:

        def start(access: Access, **options: object) -> httpx.Client:
            actions = CaseActions(ward.ledger, Config(), lambda: ward.now)
            server = StatusServer("127.0.0.1", 0, ward.source, access=access, actions=actions, on_picture=seen.append)
            server.start()
            stack.callback(server.stop)
            return stack.enter_context(browser(server.port, **options))

        yield start


def browser(port: int, **options: object) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20, **options)  # type: ignore[arg-type]


def proof_on(page: httpx.Response) -> str:
    return parse(page.text).all("input", name="proof")[-1].attributes["value"]


def log_in(client: httpx.Client, name: str, *, password: str = "", onward: str = "/") -> httpx.Response:
    form = client.get("/login", params={"next": onward})
    fields = {"name": name, "password": password or PASSWORDS[name], "next": onward, "proof": proof_on(form)}
    return client.post("/login", data=fields)


@pytest.fixture
def anna(serve: Serve, users: Path) -> httpx.Client:
    client = serve(log_in_of(users))
    assert log_in(client, "anna").status_code == 303
    return client


def test_without_log_in_nothing_but_the_checks_for_machines_is_shown(serve: Serve, users: Path, ward: Ward) -> None:
    case_id = ward.failed()
    client = serve(log_in_of(users))

    for path in ("/", f"/cases/{case_id}", f"/cases/{case_id}/preview.png", f"/cases/{case_id}/discard", "/nothing"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
        assert case_id not in answer.text
    assert client.post(f"/cases/{case_id}/retry").status_code == 401
    assert ward.ledger.cases.case(case_id).state is CaseState.FAILED
    for path in ("/healthz", "/readyz", "/metrics"):
        assert case_id not in client.get(path).text


def test_who_looks_at_pictures_is_told_by_name_once_an_opening(
    anna: httpx.Client, ward: Ward, seen: list[Viewing]
) -> None:
    case_id = ward.predicted()
    for _ in range(2):
        anna.get(f"/cases/{case_id}")
        for _ in range(2):
            assert anna.get(f"/cases/{case_id}/preview.png").status_code == 200
    assert seen == [Viewing(case_id=case_id, user="anna", address="127.0.0.1")] * 2


def test_logging_in_leads_where_one_wanted_to_go(serve: Serve, users: Path, ward: Ward) -> None:
    case_id = ward.failed()
    client = serve(log_in_of(users))

    answer = log_in(client, "ward7", onward=f"/cases/{case_id}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/cases/{case_id}")
    page = client.get(f"/cases/{case_id}")
    assert page.status_code == 200
    assert "ward7, may view" in parse(page.text).text


@pytest.mark.parametrize(
    "onward", ["https://elsewhere.example/", "//elsewhere.example", "/logout", "/cases/../x", "\\\\x", "/\t/x"]
)
def test_logging_in_leads_nowhere_else(serve: Serve, users: Path, onward: str) -> None:
    assert log_in(serve(log_in_of(users)), "anna", onward=onward).headers["location"] == "/"


def test_wrong_names_and_passwords_get_the_same_answer(serve: Serve, users: Path) -> None:
    client = serve(log_in_of(users))
    answers = [log_in(client, "anna", password="wrong password"), log_in(client, "nobody", password="wrong password")]

    texts = {parse(answer.text).one("p", role="alert").text for answer in answers}
    assert texts == {"The name or the password is not right."}
    assert {answer.status_code for answer in answers} == {401}
    assert client.get("/").status_code == 303


def test_guessing_is_slowed_down(serve: Serve, users: Path) -> None:
    client = serve(log_in_of(users))
    for _ in range(5):
        assert log_in(client, "anna", password="wrong password").status_code == 401

    answer = log_in(client, "anna")  # even with the right one
    assert answer.status_code == 429
    assert 800 < int(answer.headers["retry-after"]) <= 900
    assert log_in(client, "ward7").status_code == 303


def test_many_guesses_at_once_are_no_way_round(serve: Serve, users: Path) -> None:
    client = serve(log_in_of(users))
    fields = {"name": "anna", "password": "wrong password", "proof": proof_on(client.get("/login"))}

    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(client.post, "/login", data=fields) for _ in range(12)]
    assert sorted(answer.result().status_code for answer in answers) == [401] * 5 + [429] * 7


@pytest.mark.parametrize("secure", [False, True])
def test_cookies_are_kept_from_scripts_other_sites_and_plain_http(serve: Serve, users: Path, secure: bool) -> None:
    client = serve(log_in_of(users, secure=secure))
    form = client.get("/login")
    prefix = "__Host-" if secure else ""
    cookies = {**client.cookies, **{f"{prefix}csf24-form": _value(form, f"{prefix}csf24-form")}}
    fields = {"name": "anna", "password": PASSWORDS["anna"], "proof": proof_on(form)}
    sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = client.post("/login", data=fields, headers={"Cookie": sent})

    assert answer.status_code == 303
    for header in (*form.headers.get_list("set-cookie"), *answer.headers.get_list("set-cookie")):
        flags = {flag.strip().lower().partition("=")[0] for flag in header.split(";")[1:]}
        assert {"httponly", "samesite", "path"} <= flags
        assert ("secure" in flags) is secure
        assert "domain" not in flags
        assert header.startswith(f"{prefix}csf24")


def _value(answer: httpx.Response, name: str) -> str:
    (found,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith(f"{name}=")]
    return found.partition("=")[2].partition(";")[0]


def test_the_log_in_form_of_another_browser_does_not_work(serve: Serve, users: Path) -> None:
    client = serve(log_in_of(users))
    proof = proof_on(client.get("/login"))
    client.cookies.clear()

    answer = client.post("/login", data={"name": "anna", "password": PASSWORDS["anna"], "proof": proof})
    assert answer.status_code == 403
    assert client.get("/").status_code == 303


def test_logging_out_ends_the_session_for_good(anna: httpx.Client) -> None:
    page = anna.get("/")
    kept = dict(anna.cookies)
    assert anna.post("/logout").status_code in (403, 415)  # without the proof nobody is logged out
    assert anna.get("/").status_code == 200
    assert anna.post("/logout", data={"proof": proof_on(page)}).status_code == 303

    anna.cookies.update(kept)
    assert anna.get("/").status_code == 303


def test_who_is_taken_out_or_gets_another_password_is_out_at_once(anna: httpx.Client, users: Path) -> None:
    set_user(users, "anna", Role.ACT, "another password")
    assert anna.get("/").status_code == 303
    assert log_in(anna, "anna", password="another password").status_code == 303
    assert anna.get("/").status_code == 200
    remove_user(users, "anna")
    assert anna.get("/").status_code == 303


# --- acting


def test_retrying_does_what_the_command_does_and_names_who_did_it(anna: httpx.Client, ward: Ward) -> None:
    case_id = ward.failed()
    answer = anna.post(f"/cases/{case_id}/retry", data={"proof": proof_on(anna.get(f"/cases/{case_id}"))})

    assert (answer.status_code, answer.headers["location"]) == (303, f"/cases/{case_id}")
    case = ward.ledger.cases.case(case_id)
    assert (case.state, case.revision) == (CaseState.QUEUED, 2)
    assert ward.ledger.cases.events(case_id)[-1].text == "retried by anna on the status page"
    assert "retried by anna on the status page" in parse(anna.get(f"/cases/{case_id}").text).text


def test_discarding_asks_first(anna: httpx.Client, ward: Ward) -> None:
    case_id = ward.failed()
    page = parse(anna.get(f"/cases/{case_id}").text)
    assert f"/cases/{case_id}/discard" in [link.attributes["href"] for link in page.all("a")]
    question = anna.get(f"/cases/{case_id}/discard")
    assert "closed for good" in parse(question.text).text
    assert ward.ledger.cases.case(case_id).state is CaseState.FAILED

    assert anna.post(f"/cases/{case_id}/discard", data={"proof": proof_on(question)}).status_code == 303
    assert ward.ledger.cases.case(case_id).state is CaseState.DISCARDED
    assert ward.ledger.cases.events(case_id)[-1].text == "discarded by anna on the status page"


def test_the_pair_of_a_held_case_is_picked_from_the_patient_s_series(anna: httpx.Client, ward: Ward) -> None:
    case_id = ward.held()
    page = anna.get(f"/cases/{case_id}")
    form = parse(page.text).one("form", action=f"/cases/{case_id}/release")
    delayed = [option.attributes["value"] for option in form.one("select", id="delayed").all("option")][1:]
    baseline = ward.ledger.cases.case(case_id).baseline_series_uid
    assert baseline in delayed and len(delayed) == 3
    assert "P3" not in page.text  # the patient's id and name are not on the page
    chosen = next(uid for uid in reversed(delayed) if uid != baseline)

    answer = anna.post(
        f"/cases/{case_id}/release",
        data={"proof": proof_on(page), "baseline": baseline, "delayed": chosen, "injection_time": "2024-05-14T09:00"},
    )
    assert answer.status_code == 303
    case = ward.ledger.cases.case(answer.headers["location"].removeprefix("/cases/"))
    assert (case.state, case.delayed_series_uid) == (CaseState.QUEUED, chosen)
    assert case.injection_time == datetime(2024, 5, 14, 9, 0)
    events = [event.text for event in ward.ledger.cases.events(case.case_id)]
    assert "released by anna on the status page" in events


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"baseline": "1.2.3", "delayed": "1.2.4"}, 400),  # not this patient's
        ({"injection_time": "yesterday"}, 409),
        ({"injection_time": "2024-05-14"}, 409),  # a bare date would mean midnight
        ({}, 409),  # the delayed series is still open
    ],
)
def test_a_release_that_cannot_be_leaves_the_case_held(
    anna: httpx.Client, ward: Ward, fields: dict[str, str], status: int
) -> None:
    case_id = ward.held()
    page = anna.get(f"/cases/{case_id}")
    answer = anna.post(f"/cases/{case_id}/release", data={"proof": proof_on(page), **fields})

    assert answer.status_code == status
    assert ward.ledger.cases.case(case_id).state is CaseState.HELD


def test_what_cannot_be_done_any_more_is_said(anna: httpx.Client, ward: Ward) -> None:
    case_id = ward.failed()
    fields = {"proof": proof_on(anna.get(f"/cases/{case_id}"))}
    ward.ledger.cases.discard(case_id, now=ward.now)

    answer = anna.post(f"/cases/{case_id}/retry", data=fields)
    assert answer.status_code == 409
    assert "is discarded and cannot become queued" in parse(answer.text).text
    assert anna.post("/cases/c0000000000ff/retry", data=fields).status_code == 409
    assert anna.post("/cases/nonsense/retry", data=fields).status_code == 404


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({}, {}),
        ({"proof": ""}, {}),
        ({"proof": "0" * 64}, {}),
        ({"proof": "é"}, {}),
        (None, {"Sec-Fetch-Site": "cross-site"}),
        (None, {"Sec-Fetch-Site": "same-site"}),
        (None, {"Content-Type": "text/plain"}),
        (None, {"Content-Type": "multipart/form-data; boundary=x"}),
    ],
)
def test_a_form_from_elsewhere_does_nothing(
    anna: httpx.Client, ward: Ward, fields: dict[str, str] | None, headers: dict[str, str]
) -> None:
    case_id = ward.failed()
    given = {"proof": proof_on(anna.get(f"/cases/{case_id}"))} if fields is None else fields

    for action in ("retry", "discard", "release"):
        answer = anna.post(f"/cases/{case_id}/{action}", data=given, headers=headers)
        assert answer.status_code in (403, 415)
    assert ward.ledger.cases.case(case_id).state is CaseState.FAILED


def test_the_proof_of_one_session_is_worth_nothing_in_another(serve: Serve, users: Path, ward: Ward) -> None:
    case_id = ward.failed()
    access = log_in_of(users)
    first = serve(access)
    log_in(first, "anna")
    stolen = proof_on(first.get("/"))
    second = serve(access)
    log_in(second, "anna")

    assert second.post(f"/cases/{case_id}/retry", data={"proof": stolen}).status_code == 403


def test_a_form_without_end_is_not_read_to_its_end(anna: httpx.Client, ward: Ward) -> None:
    case_id = ward.failed()
    answer = anna.post(f"/cases/{case_id}/retry", data={"proof": "x" * 100_000})

    assert answer.status_code == 413


def test_who_may_only_look_sees_no_buttons_and_cannot_act(serve: Serve, users: Path, ward: Ward) -> None:
    case_id = ward.failed()
    client = serve(log_in_of(users))
    log_in(client, "ward7")
    page = client.get(f"/cases/{case_id}")
    assert [form.attributes["action"] for form in parse(page.text).all("form", method="post")] == ["/logout"]
    assert f"csf24 cases retry {case_id}" in parse(page.text).text  # the command stays

    for action in ("retry", "discard", "release"):
        answer = client.post(f"/cases/{case_id}/{action}", data={"proof": proof_on(page)})
        assert answer.status_code == 403
        assert "ward7 may look at cases, not act on them" in parse(answer.text).text
    assert client.get(f"/cases/{case_id}/discard").status_code == 404
    assert ward.ledger.cases.case(case_id).state is CaseState.FAILED


# --- a reverse proxy


def proxied(address: str = "127.0.0.1") -> Proxied:
    return Proxied(proxies=(address,), header="X-Remote-User", acting=("anna",))


def test_whom_the_proxy_names_is_who_it_is(serve: Serve, ward: Ward) -> None:
    case_id = ward.failed()
    client = serve(proxied())
    page = client.get(f"/cases/{case_id}", headers={"X-Remote-User": "anna"})
    answer = client.post(f"/cases/{case_id}/retry", data={"proof": proof_on(page)}, headers={"X-Remote-User": "anna"})

    assert answer.status_code == 303
    assert ward.ledger.cases.events(case_id)[-1].text == "retried by anna on the status page"
    assert "set-cookie" not in answer.headers
    looking = client.get(f"/cases/{case_id}", headers={"X-Remote-User": "otto"})
    assert "otto, may view" in parse(looking.text).text
    assert not parse(looking.text).all("form", method="post")


def test_the_proof_of_one_user_is_worth_nothing_for_another(serve: Serve, ward: Ward) -> None:
    case_id = ward.failed()
    client = serve(Proxied(proxies=("127.0.0.1",), header="X-Remote-User", acting=("anna", "otto")))
    proof = proof_on(client.get(f"/cases/{case_id}", headers={"X-Remote-User": "otto"}))

    answer = client.post(f"/cases/{case_id}/retry", data={"proof": proof}, headers={"X-Remote-User": "anna"})
    assert answer.status_code == 403


def test_from_another_address_the_header_says_nothing(serve: Serve, ward: Ward) -> None:
    case_id = ward.failed()
    client = serve(proxied("10.20.1.7"), headers={"X-Remote-User": "anna", "X-Forwarded-For": "10.20.1.7"})

    assert client.get("/").status_code == 403
    assert client.post(f"/cases/{case_id}/retry").status_code == 403
    assert client.get("/login").status_code == 403
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Remote-User": ""}, {"X-Remote-User": "an\tna"}])
def test_a_proxy_that_names_nobody_lets_nobody_in(serve: Serve, headers: dict[str, str]) -> None:
    assert serve(proxied()).get("/", headers=headers).status_code == 401


def test_two_names_are_none(serve: Serve) -> None:
    headers = [("X-Remote-User", "otto"), ("X-Remote-User", "anna")]
    assert serve(proxied()).get("/", headers=headers).status_code == 401


def test_behind_a_proxy_failed_log_ins_count_for_the_visitor_s_address(serve: Serve, users: Path) -> None:
    client = serve(log_in_of(users, proxies=("127.0.0.1",)))

    def guess(address: str) -> int:
        form = client.get("/login")
        fields = {"name": "anna", "password": "wrong password", "proof": proof_on(form)}
        # What the client itself claims comes first, and is not believed.
        return client.post("/login", data=fields, headers={"X-Forwarded-For": f"{address}, 10.9.9.9"}).status_code

    assert [guess(f"10.0.0.{number}") for number in range(6)] == [401] * 5 + [429]


# --- TLS


@needs("openssl")
def test_the_page_speaks_https_and_nothing_else(ward: Ward, users: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    made = make_certificates(folder)
    server = StatusServer(
        "127.0.0.1",
        0,
        ward.source,
        access=log_in_of(users, secure=True),
        tls=TlsFiles(certificate=Path(made.server), key=Path(made.server_key)),
    )
    server.start()
    try:
        trusting = ssl.create_default_context(cafile=str(made.authority))
        trusting.check_hostname = False
        with httpx.Client(base_url=f"https://127.0.0.1:{server.port}", verify=trusting, trust_env=False) as client:
            assert log_in(client, "anna").status_code == 303
            assert client.get("/").status_code == 200  # the cookie came back, so it was sent over TLS only
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/login", trust_env=False)
    finally:
        server.stop()


def test_a_certificate_that_is_none_is_said_at_the_start(ward: Ward, tmp_path: Path) -> None:
    nonsense = tmp_path / "page.pem"
    nonsense.write_text("no certificate")
    server = StatusServer("127.0.0.1", 0, ward.source, tls=TlsFiles(certificate=nonsense, key=nonsense))

    with pytest.raises(ConfigError, match=r"status_page\.certificate"):
        server.start()
