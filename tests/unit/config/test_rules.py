"""Rules between keys: each refuses what it is for, and lets its neighbour pass."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.config import Config, load_config
from service.config.values import is_loopback
from service.errors import ConfigError

PACS = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs.example"\nport = 104\n'


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "csf24.toml"
    path.write_text(text)
    return load_config(path, {})


def problem(tmp_path: Path, text: str) -> str:
    """The only one."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    (only,) = caught.value.problems
    return only


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "csf24.hospital.example"])
def test_a_listener_that_others_reach_needs_calling_ae_titles(tmp_path: Path, host: str) -> None:
    text = f'[listener]\nhost = "{host}"\n'
    found = problem(tmp_path, text)
    assert found.startswith("listener.calling_ae_titles: found none") and "promiscuous" in found
    load(tmp_path, text + 'calling_ae_titles = ["CT1"]')
    load(tmp_path, text + "promiscuous = true")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost."])
def test_on_loopback_nobody_need_be_listed(tmp_path: Path, host: str) -> None:
    assert is_loopback(host)
    assert load(tmp_path, f'[listener]\nhost = "{host}"').listener.host == host


def test_a_list_of_callers_and_promiscuous_contradict_each_other(tmp_path: Path) -> None:
    found = problem(tmp_path, '[listener]\npromiscuous = true\ncalling_ae_titles = ["CT1"]')
    assert found.startswith("listener.promiscuous: found true together with listener.calling_ae_titles")


def test_the_status_page_stays_on_loopback_unless_it_asks_who_is_there(tmp_path: Path) -> None:
    users, pem = tmp_path / "users", tmp_path / "page.pem"
    users.touch()
    pem.touch()
    text = '[status_page]\nhost = "0.0.0.0"\n'
    with_users = f'{text}authentication = "users"\nusers_file = "{users}"\n'
    assert problem(tmp_path, text).startswith("status_page.host: found '0.0.0.0'")
    load(tmp_path, text + "enabled = false")
    assert problem(tmp_path, with_users).startswith("status_page.certificate: missing with status_page.host")
    load(tmp_path, with_users + f'certificate = "{pem}"\nkey = "{pem}"')
    load(tmp_path, with_users + 'proxy_addresses = ["10.20.1.7"]')
    load(tmp_path, text + 'authentication = "proxy"\nproxy_addresses = ["10.20.1.7", "fd00::7"]')
    load(tmp_path, with_users.replace("0.0.0.0", "127.0.0.1"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('authentication = "users"', "status_page.users_file: missing"),
        ('authentication = "proxy"', "status_page.proxy_addresses: found none"),
        ('proxy_addresses = ["10.0.0.1"]', "status_page.proxy_addresses: found with status_page.authentication"),
        ('proxy_acting_users = ["anna"]', "status_page.proxy_acting_users: found with"),
        ('authentication = "proxy"\nproxy_addresses = ["proxy.example"]', "status_page.proxy_addresses[0]: found"),
        ('users_file = "nowhere"\nauthentication = "users"', "status_page.users_file: found 'nowhere', not there"),
        ('proxy_user_header = "X User"', "status_page.proxy_user_header: found 'X User'"),
        ("session_hours = 48.0", "status_page.session_hours: found 48.0"),
    ],
)
def test_the_page_s_keys_must_fit_each_other(tmp_path: Path, text: str, found: str) -> None:
    assert problem(tmp_path, f"[status_page]\n{text}").startswith(found)


def test_the_page_s_certificate_needs_its_key(tmp_path: Path) -> None:
    pem = tmp_path / "page.pem"
    pem.touch()
    assert problem(tmp_path, f'[status_page]\ncertificate = "{pem}"').startswith("status_page.key: missing")


def test_page_and_listener_cannot_share_a_port(tmp_path: Path) -> None:
    text = "[status_page]\nport = 11112\n"
    assert problem(tmp_path, text).startswith("status_page.port: found 11112, which listener.port has too")
    load(tmp_path, text + "enabled = false")


def test_a_gpu_cannot_be_required_of_the_cpu(tmp_path: Path) -> None:
    assert problem(tmp_path, "[inference]\nrequire_gpu = true").startswith("inference.require_gpu: found true")
    load(tmp_path, '[inference]\nrequire_gpu = true\nprovider = "cuda"')


def test_some_image_must_go_out(tmp_path: Path) -> None:
    text = "[outputs]\nsecondary_capture = false\n"
    assert problem(tmp_path, text).startswith("outputs.secondary_capture: found false with outputs.mr_image = false")
    load(tmp_path, text + "mr_image = true")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'1-2 h' = [2.0, 1.0]", 'pairing.windows."1-2 h": found'),
        ("'1-2 h' = [1.0, 1.0]", "two hours, the earlier first"),
        ("baseline = [-24.0, 0.5]", "pairing.windows.baseline: found an end 0.5 h after the injection"),
        ("'1-2 h' = [1.0]", 'pairing.windows."1-2 h"'),
        ("'1-2 h' = [1.0, inf]", 'pairing.windows."1-2 h"'),
    ],
)
def test_a_window_runs_forward_and_the_baseline_ends_before_the_injection(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[pairing.windows]\n{text}")
    assert all("pairing.windows" in found for found in caught.value.problems)
    assert said in "".join(caught.value.problems)


def test_the_delayed_window_is_one_of_those_before_the_time_that_is_predicted(tmp_path: Path) -> None:
    for name in ("1-3 h", "baseline", "24 h", "48 h"):
        found = problem(tmp_path, f'[pairing]\ndelayed_window = "{name}"')
        assert found.startswith(f"pairing.delayed_window: found '{name}'; accepted: a window that ends before '24 h'")
        accepted = found.partition("begins: ")[2]
        assert "'1-2 h', '3-5 h'" in accepted
        assert not any(name in accepted for name in ("baseline", "24 h", "48 h"))
    assert load(tmp_path, '[pairing]\ndelayed_window = "3-5 h"').pairing.delayed == (3.0, 5.0)


def test_a_wait_of_a_thousand_years_is_none(tmp_path: Path) -> None:
    assert "partner_wait_hours" in problem(tmp_path, "[pairing]\npartner_wait_hours = 1e12")


def test_destinations_are_told_apart_by_name(tmp_path: Path) -> None:
    found = problem(tmp_path, PACS + PACS.replace("104", "105"))
    assert found.startswith("destinations[1].name: found 'pacs' a second time")


@pytest.mark.parametrize(
    ("listens", "sends"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("10.0.0.5", "10.0.0.5")]
)
def test_results_are_not_sent_back_to_the_own_listener(tmp_path: Path, listens: str, sends: str) -> None:
    listener = f'[listener]\nhost = "{listens}"\nport = 104\ncalling_ae_titles = ["CT1"]\n'
    to_itself = PACS.replace("pacs.example", sends)
    assert problem(tmp_path, listener + to_itself).startswith(
        "destinations[0].port: found 104, which is this service's"
    )
    load(tmp_path, listener + to_itself.replace("port = 104", "port = 105"))
    load(tmp_path, listener + PACS)


def test_tls_needs_its_files_whole_and_readable(tmp_path: Path) -> None:
    certificate, key, trusted = (tmp_path / name for name in ("own.pem", "own.key", "ca.pem"))
    for path in (certificate, key, trusted):
        path.touch()
    given = f'[tls]\ncertificate = "{certificate}"\n'
    assert problem(tmp_path, given) == "tls.key: missing; accepted: tls.certificate and tls.key together"
    assert problem(tmp_path, f'[tls]\nkey = "{key}"').startswith("tls.certificate: missing")
    assert problem(tmp_path, "[tls]\nlistener = true\nverify_client = false").startswith("tls.certificate: missing")
    whole = given + f'key = "{key}"\nlistener = true\n'
    assert problem(tmp_path, whole).startswith("tls.trusted: missing with tls.verify_client = true")
    load(tmp_path, whole + "verify_client = false")
    load(tmp_path, whole + f'trusted = "{trusted}"')

    key.unlink()
    assert problem(tmp_path, whole + "verify_client = false").startswith(f"tls.key: found '{key}', not there")
    key.mkdir()
    assert problem(tmp_path, whole + "verify_client = false").startswith(f"tls.key: found '{key}', a folder")


def test_files_and_folders_that_are_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    found = problem(tmp_path, f'[pairing]\ninjection_times = "{missing}"')
    assert found == f"pairing.injection_times: found {str(missing)!r}, not there; accepted: a readable file"
    assert problem(tmp_path, f'[models]\npath = ["{tmp_path}", "{missing}"]').startswith("models.path[1]: found")


def test_data_go_where_they_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = problem(tmp_path, f'[storage]\ndirectory = "{tmp_path}/file/below"')
    assert found.startswith(
        f"storage.directory: found '{tmp_path}/file/below', and '{tmp_path}/file' cannot be written"
    )
    load(tmp_path, f'[storage]\ndirectory = "{tmp_path}/to/be/made"')
    assert not (tmp_path / "to").exists()


def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere, so the answer of an ordinary owner is given in its place
        monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK or bool(path.stat().st_mode & 0o200))
    assert problem(tmp_path, f'[storage]\ndirectory = "{closed}/data"').startswith("storage.directory: found")


def test_a_rule_is_silent_about_keys_that_are_wrong_themselves(tmp_path: Path) -> None:
    text = '[listener]\nhost = "0.0.0.0"\ncalling_ae_titles = ["A TITLE LONGER THAN IT MAY BE"]'
    assert problem(tmp_path, text).startswith("listener.calling_ae_titles[0]: found 'A TITLE LONGER")


def test_a_calling_address_is_a_network_of_one_who_may_call(tmp_path: Path) -> None:
    text = '[listener]\ncalling_ae_titles = ["CT1"]\ncalling_addresses = '
    given = '["CT1=10.1.2.3", "10.1.0.0/16", "fd00::/8"]'
    assert load(tmp_path, text + given).listener.calling_addresses[0] == "CT1=10.1.2.3"
    found = problem(tmp_path, text + '["MR1=10.1.2.3"]')
    assert found.startswith("listener.calling_addresses: found 'MR1=10.1.2.3', whose AE title may not call")
    for wrong in ("10.1.2.3/16", "CT1=ct1.hospital.example", "=10.1.2.3", ""):
        assert "an IP address or a network" in problem(tmp_path, text + f'["{wrong}"]')


def test_priors_come_from_a_destination(tmp_path: Path) -> None:
    there = '[[destinations]]\nname = "PACS"\nae_title = "PACS"\nhost = "pacs.example"\nport = 104\n'
    assert problem(tmp_path, '[priors]\nsource = "PACS"').startswith("priors.source: found 'PACS'; accepted: empty, or")
    load(tmp_path, f'[priors]\nsource = "PACS"\n{there}')


MAIL = '[notifications]\nmail_host = "smtp.example"\nmail_from = "csf24@h.example"\nmail_to = ["mri@h.example"]\n'


@pytest.mark.parametrize("key", ["mail_host", "mail_from", "mail_to"])
def test_mail_needs_server_sender_and_somebody_who_gets_it(tmp_path: Path, key: str) -> None:
    assert load(tmp_path, MAIL).notifications.mail_to == ("mri@h.example",)
    lacking = "".join(line for line in MAIL.splitlines(keepends=True) if not line.startswith(key))
    assert problem(tmp_path, lacking).startswith(f"notifications.{key}: missing beside mail_")


def test_a_log_in_at_the_mail_server_needs_user_and_password(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pass word\n")
    user, password = 'mail_user = "csf24"\n', f'mail_password_file = "{secret}"\n'
    assert problem(tmp_path, MAIL + user).startswith("notifications.mail_password_file: missing")
    assert problem(tmp_path, MAIL + password).startswith("notifications.mail_user: missing")
    assert load(tmp_path, MAIL + user + password).notifications.mail_password == "pass word"


def test_a_token_needs_a_url_to_go_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token\n")
    text = f'[notifications]\nwebhook_token_file = "{secret}"\n'
    assert problem(tmp_path, text).startswith("notifications.webhook_url: missing beside a webhook_token")
    load(tmp_path, text + 'webhook_url = "https://chat.example/hook"')


@pytest.mark.parametrize(
    "line",
    [
        'webhook_url = "http://chat.example/hook"',
        'webhook_url = "https://user:secret@chat.example/hook"',
        'webhook_url = "https:///hook"',
        'webhook_url = "https://chat.example:0/"',
        'webhook_url = "https://chat.example/a b"',
        'page_url = "javascript:alert(1)"',
        'mail_to = ["MRI <mri@h.example>"]',
        'mail_to = ["mri@h.example\\nBcc: x@y.example"]',
        'mail_from = "nobody"',
        'mail_security = "none"',
    ],
)
def test_receivers_are_addresses_that_are_spoken_to_over_tls(tmp_path: Path, line: str) -> None:
    found = problem(tmp_path, f"[notifications]\n{line}\n")
    assert found.startswith(
        "notifications.mail_to[0]" if "mail_to" in line else f"notifications.{line.split(maxsplit=1)[0]}"
    )
    assert "secret" not in found
