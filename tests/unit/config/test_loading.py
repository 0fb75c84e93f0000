"""From a file and the environment to a configuration, or to everything that is wrong with them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.config import Config, load_config
from service.config.loading import PREFIX
from service.errors import ConfigError

SECRET = "s3cret-of-the-database"


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Config]:
    """Loads TOML text; keywords are environment variables without their prefix, ``listener__port="1"``."""

    def from_text(text: str = "", **environ: str) -> Config:
        path = tmp_path / "csf24.toml"
        path.write_text(text)
        return load_config(path, {PREFIX + name.upper(): value for name, value in environ.items()})

    return from_text


def problems(load: Callable[..., Config], text: str = "", **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(text, **environ)
    return caught.value.problems


def test_without_a_file_the_defaults_are_safe() -> None:
    config = load_config(None, {})
    assert config == Config()
    assert (config.listener.ae_title, config.listener.host, config.listener.port) == ("CSF24", "127.0.0.1", 11112)
    assert (config.status_page.host, config.status_page.port) == ("127.0.0.1", 8024)
    assert (config.listener.calling_ae_titles, config.listener.promiscuous) == ((), False)
    assert config.storage.ledger_url == "sqlite:///csf24-data/ledger.sqlite"
    assert (config.models.default, config.inference.provider) == ("volume3d", "cpu")
    assert config.pairing.delayed == (1.0, 2.0)


def test_the_file_is_taken_over_the_defaults_and_the_environment_over_the_file(
    load: Callable[..., Config],
) -> None:
    text = '[listener]\nae_title = "FROM_FILE"\nport = 104\n[retention]\nresults_days = 7\n'
    config = load(text, listener__port="11113")
    assert (config.listener.ae_title, config.listener.port, config.retention.results_days) == ("FROM_FILE", 11113, 7)


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("listener__ae_title", "123", lambda c: c.listener.ae_title == "123"),  # text, though it looks like a number
        ("listener__promiscuous", "true", lambda c: c.listener.promiscuous is True),
        ("listener__calling_ae_titles", "CT1, MR2", lambda c: c.listener.calling_ae_titles == ("CT1", "MR2")),
        ("listener__calling_ae_titles", '["CT1", "MR2"]', lambda c: c.listener.calling_ae_titles == ("CT1", "MR2")),
        ("listener__calling_ae_titles", "123", lambda c: c.listener.calling_ae_titles == ("123",)),
        ("pairing__quiet_seconds", "5", lambda c: c.pairing.quiet_seconds == 5.0),
        ("pairing__windows", '{"1-2 h" = [0.9, 2.1]}', lambda c: c.pairing.delayed == (0.9, 2.1)),
        ("storage__directory", "/tmp/somewhere", lambda c: c.storage.directory == Path("/tmp/somewhere")),
        ("workers__executor_id", "ward-3", lambda c: c.workers.executor_id == "ward-3"),
        ("retention", "{ results_days = 1 }", lambda c: c.retention.results_days == 1),
    ],
)
def test_a_variable_is_read_as_its_key_needs_it(
    load: Callable[..., Config], name: str, written: str, read: Callable[[Config], bool]
) -> None:
    assert read(load(**{name: written}))


def test_variables_reach_into_the_list_of_destinations(load: Callable[..., Config]) -> None:
    text = '[[destinations]]\nname = "a"\nae_title = "A"\nhost = "pacs"\nport = 104\n'
    config = load(
        text,
        destinations__0__host="10.0.0.9",
        destinations__1__name="b",
        destinations__1__ae_title="B",
        destinations__1__host="10.0.0.8",
        destinations__1__port="105",
    )
    assert [(d.name, d.host, d.port) for d in config.destinations] == [("a", "10.0.0.9", 104), ("b", "10.0.0.8", 105)]
    (problem,) = problems(load, text, destinations__3__host="pacs")
    assert problem.startswith("CSF24_DESTINATIONS__3__HOST: found no place for destinations[3].host")


def test_what_kubernetes_and_an_example_file_add_is_not_taken_for_settings(load: Callable[..., Config]) -> None:
    given_by_kubernetes = {"service_host": "10.1.2.3", "port": "tcp://10.1.2.3:8024", "port_8024_tcp_proto": "tcp"}
    assert load(**given_by_kubernetes) == Config()
    assert load('[tls]\ncertificate = ""\nkey = ""\n', listener__port="", storage__database=" ") == Config()


def test_every_fault_is_listed_at_once_with_what_was_found_and_what_is_accepted(load: Callable[..., Config]) -> None:
    text = """
[listener]
prot = 104
ae_title = "AN AE TITLE THAT IS TOO LONG"
port = "11112"
[inference]
provider = "gpu"
[retention]
results_days = -1
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "not a host"
[logging]
level = "loud"
"""
    found = problems(load, text, workers__count="0", listener__host="0.0.0.0")
    for beginning in (
        "listener.prot: unknown key; accepted: ",
        "listener.ae_title: found 'AN AE TITLE THAT IS TOO LONG'; accepted: 1 to 16 ASCII characters",
        "listener.port: found '11112'; accepted: a valid integer",
        "inference.provider: found 'gpu'; accepted: 'cpu' or 'cuda'",
        "retention.results_days: found -1; accepted: greater than or equal to 0",
        "destinations[0].host: found 'not a host'; accepted: a host name or an IP address",
        "destinations[0].port: missing, and there is no default",
        "logging.level: found 'loud'; accepted: 'debug', 'info', 'warning' or 'error'",
        "workers.count (from CSF24_WORKERS__COUNT): found 0; accepted: greater than or equal to 1",
        "listener.calling_ae_titles: found none with listener.host = '0.0.0.0'",  # a rule between keys, all the same
    ):
        assert sum(problem.startswith(beginning) for problem in found) == 1, (beginning, found)
    assert len(found) == 10


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[listener]\npromiscous = true", "promiscuous"),
        ("[destination]\nport = 1", "destinations"),
        ("[pairing.windows]\n'1-2h' = [1.0, 2.0]", "1-2 h"),
        (
            '[[destinations]]\nname = "a"\nae_title = "A"\nhost = "h"\nport = 1\ncommitement = "off"',
            "commitment",
        ),
    ],
)
def test_an_unknown_key_is_answered_with_the_one_that_was_meant(
    load: Callable[..., Config], text: str, meant: str
) -> None:
    (problem,) = problems(load, text)
    assert "unknown key" in problem
    assert f"(did you mean {meant}?)" in problem


def test_a_file_that_notepad_saved_with_its_mark_is_read(tmp_path: Path) -> None:
    path, password = tmp_path / "csf24.toml", tmp_path / "password"
    password.write_text("\ufeffhunter2\r\n", encoding="utf-8")
    text = f'[storage]\ndatabase = "postgresql://csf24@db/csf24"\ndatabase_password_file = "{password}"\n'
    path.write_bytes(f"\ufeff{text}".replace("\n", "\r\n").encode())
    assert load_config(path, {}).storage.database == "postgresql://csf24:hunter2@db/csf24"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[listener\n", "not TOML"),
        (b"\xff\xfe[listener]", "not text in UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem_beside_those_of_the_environment(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "csf24.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"CSF24_LISTENER__PORT": "70000"})
    first, second = caught.value.problems
    assert first.startswith(f"{path}: ") and said in first
    assert second.startswith("listener.port (from CSF24_LISTENER__PORT): found 70000; accepted: less than or equal to")


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f'[storage]\ndatabase = "mysql://csf24:{SECRET}@db/csf24"', {}),
        (f'[storage]\ndatabase = ["postgresql://csf24:{SECRET}@db/csf24"]', {}),
        (f'storage = "postgresql://csf24:{SECRET}@db/csf24"', {}),
        (f'[storage]\ndatabse = "postgresql://csf24:{SECRET}@db/csf24"', {}),
        ("", {"storage__database": f"oracle://csf24:{SECRET}@db/csf24"}),
        ("", {"storage": f"postgresql://csf24:{SECRET}@db/csf24"}),
        ("", {"storage__database__url": f"postgresql://csf24:{SECRET}@db/csf24"}),
    ],
)
def test_a_password_is_never_quoted(load: Callable[..., Config], text: str, environ: dict[str, str]) -> None:
    found = problems(load, text, **environ)
    assert any(problem.startswith("storage") for problem in found)
    assert SECRET not in "".join(found)


def test_a_loaded_configuration_does_not_show_its_password(load: Callable[..., Config]) -> None:
    config = load(storage__database=f"postgresql://csf24:{SECRET}@db/csf24")
    assert config.storage.ledger_url.endswith("@db/csf24")
    assert config.storage.ledger_file is None
    assert SECRET not in repr(config)


WITH_PASSWORD = f"postgresql+psycopg://csf24:{SECRET}@db/csf24"
WITHOUT = "postgresql+psycopg://csf24@db:5432/csf24?sslmode=require"


@pytest.mark.parametrize("url", [WITH_PASSWORD, f"postgresql://csf24@db/csf24?password={SECRET}"])
def test_a_password_in_the_file_is_refused_and_in_the_environment_taken(load: Callable[..., Config], url: str) -> None:
    (problem,) = problems(load, f'[storage]\ndatabase = "{url}"')
    assert problem.startswith("storage.database: found a password in the configuration file; accepted: a URL without")
    assert SECRET not in problem
    assert load(storage__database=url).storage.database == url


def test_a_password_comes_from_a_file_of_its_own(load: Callable[..., Config], tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/w:rd%\n")
    text = f'[storage]\ndatabase = "{WITHOUT}"\ndatabase_password_file = "{file}"'
    config = load(text)
    assert config.storage.database == "postgresql+psycopg://csf24:p%40ss%2Fw%3Ard%25@db:5432/csf24?sslmode=require"
    assert config.storage.ledger_url == config.storage.database
    assert "p%40ss" not in repr(config)


def test_a_password_file_that_cannot_be_used_is_named_without_its_content(
    load: Callable[..., Config], tmp_path: Path
) -> None:
    file = tmp_path / "password"
    text = f'[storage]\ndatabase = "{WITHOUT}"\ndatabase_password_file = "{file}"'
    assert "cannot be read" in problems(load, text)[0]
    for content in ("", "\n", f"{SECRET}\nsecond line\n"):
        file.write_text(content)
        (problem,) = problems(load, text)
        assert "does not hold one line" in problem and SECRET not in problem
    file.write_text(SECRET)
    (problem,) = problems(load, text.replace("csf24@db", "db"))
    assert "without a user in storage.database" in problem
    (problem,) = problems(load, f'[storage]\ndatabase_password_file = "{file}"', storage__database=WITH_PASSWORD)
    assert "one of the two" in problem and SECRET not in problem


@pytest.mark.parametrize("key", ["webhook_token", "webhook_signing_key", "mail_password"])
def test_a_secret_of_notifications_comes_from_a_file_or_the_environment_only(
    load: Callable[..., Config], tmp_path: Path, key: str
) -> None:
    text = (
        '[notifications]\nwebhook_url = "https://chat.example/"\nmail_host = "smtp.example"\n'
        'mail_from = "a@b.example"\nmail_to = ["c@d.example"]\n'
        + ('mail_user = "csf24"\n' if key == "mail_password" else "")
    )
    file = tmp_path / "secret"
    (problem,) = problems(load, f'{text}{key}_file = "{file}"')
    assert problem.startswith(f"notifications.{key}_file: found") and "cannot be read" in problem
    file.write_text(f"{SECRET}\n")
    (problem,) = problems(load, f'{text}{key} = "{SECRET}"')
    assert problem.startswith(f"notifications.{key}: found a secret in the configuration file")
    assert SECRET not in problem
    variable = {f"notifications__{key}": SECRET}
    for config in (load(f'{text}{key}_file = "{file}"'), load(text, **variable)):
        assert getattr(config.notifications, key) == SECRET
        assert SECRET not in repr(config)
    (problem,) = problems(load, f'{text}{key}_file = "{file}"', **variable)
    assert "one of the two" in problem


@pytest.mark.parametrize("length", [20, 4000])
def test_a_key_in_place_of_its_file_is_refused_without_quoting_it(load: Callable[..., Config], length: int) -> None:
    pem = f"-----BEGIN PRIVATE KEY-----\\n{SECRET * length}\\n-----END PRIVATE KEY-----"
    found = problems(load, f'[tls]\nkey = "{pem}"\ncertificate = "/nowhere.pem"')
    assert any(problem.startswith("tls.key: found a key itself; accepted: the path") for problem in found)
    assert SECRET not in "".join(found)


def test_a_path_that_is_none_is_one_problem_among_others(load: Callable[..., Config]) -> None:
    found = problems(load, f'[tls]\ntrusted = "{"x" * 4000}"')
    assert any("which is no path" in problem for problem in found)


def test_a_variable_spells_one_value_and_cannot_slip_in_another_key(load: Callable[..., Config]) -> None:
    (problem,) = problems(load, listener__port="104\nhost = 2")
    assert problem.startswith("listener.port (from CSF24_LISTENER__PORT): found '104")


SECTIONS = {name: field.annotation for name, field in Config.model_fields.items() if name != "destinations"}


@settings(deadline=None)
@given(
    section=st.sampled_from(sorted(SECTIONS)),
    name=st.from_regex(r"[a-z][a-z0-9_]{0,11}", fullmatch=True),
    value=st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
)
def test_whatever_key_is_unknown_it_is_named_and_never_ignored(section: str, name: str, value: str) -> None:
    assume(name.split("__", maxsplit=1)[0] not in SECTIONS[section].model_fields)
    with pytest.raises(ConfigError) as caught:
        load_config(None, {f"{PREFIX}{section.upper()}__{name}": value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{section}.{name.split('__', maxsplit=1)[0]}")
    assert "unknown key" in problem


WORDS = st.text("abcXYZ019 _-.,:/=[]{}#'", max_size=8)
JUNK = st.recursive(
    st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), WORDS, st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)


def as_toml(value: object) -> str:
    """An inline value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return str(value) if isinstance(value, date) else json.dumps(value)


@settings(deadline=None)
@given(values=st.dictionaries(st.sampled_from([*Config.model_fields, "extra", "self", "_env_file"]), JUNK, max_size=4))
def test_whatever_the_file_holds_the_answer_is_a_configuration_or_a_list_of_problems(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.toml"
    path.write_text("".join(f"{json.dumps(key)} = {as_toml(value)}\n" for key, value in values.items()))
    assert tomllib.loads(path.read_text()) == values
    try:
        load_config(path, {})
    except ConfigError as fault:
        assert fault.problems
        assert all(": " in problem for problem in fault.problems)
    else:  # nothing that was written may have gone unread
        assert set(values) <= set(Config.model_fields)


@pytest.mark.parametrize(
    ("text", "listens", "works"), [("listen", True, False), ("work", False, True), ("work,listen", True, True)]
)
def test_roles_can_be_told_by_the_environment(
    load: Callable[..., Config], text: str, listens: bool, works: bool
) -> None:
    service = load(service__roles=text).service
    assert (service.listens, service.works) == (listens, works)


@pytest.mark.parametrize("roles", ["[]", '["listen", "listen"]', '["convert"]'])
def test_a_process_has_a_role_and_each_once(load: Callable[..., Config], roles: str) -> None:
    (problem,) = problems(load, f"[service]\nroles = {roles}\n")
    assert problem.startswith("service.roles") and "'listen'" in problem
