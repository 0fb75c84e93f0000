from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import ConfigError, UsageError
from service.monitoring.role import Role
from service.monitoring.users_file import UsersFile, read_users, remove_user, set_user

GOOD, BETTER = "correct horse", "battery staple"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    set_user(path, "anna", Role.ACT, GOOD)
    set_user(path, "ward7", Role.VIEW, BETTER)
    return path


def test_only_the_right_password_of_the_right_name_opens(path: Path) -> None:
    users = UsersFile(path)

    account = users.check("anna", GOOD)
    assert account is not None
    assert (account.name, account.role) == ("anna", Role.ACT)
    assert users.check("anna", BETTER) is None
    assert users.check("ward7", GOOD) is None
    assert users.check("nobody", GOOD) is None
    assert users.check("anna", "") is None
    assert users.check("anna", GOOD * 1000) is None


def test_the_file_holds_no_password_and_only_its_owner_reads_it(path: Path) -> None:
    text = path.read_text()

    assert GOOD not in text
    assert text.count("$argon2id$") == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_password_twice_has_two_hashes(path: Path) -> None:
    set_user(path, "ward7", Role.VIEW, GOOD)

    assert len({account.password_hash for account in read_users(path).values()}) == 2


def test_a_file_that_a_group_may_read_stays_so(path: Path) -> None:
    path.chmod(0o640)
    set_user(path, "berta", Role.VIEW, GOOD)

    assert path.stat().st_mode & 0o777 == 0o640


def test_a_change_counts_at_once(path: Path) -> None:
    users = UsersFile(path)
    set_user(path, "anna", Role.VIEW, BETTER)
    remove_user(path, "ward7")

    assert users.check("anna", GOOD) is None
    assert users.check("anna", BETTER).role is Role.VIEW  # type: ignore[union-attr]
    assert users.account("ward7") is None


def test_a_file_that_is_spoilt_while_in_use_locks_nobody_out_or_in(path: Path) -> None:
    users = UsersFile(path)
    path.write_text("eve:act:plain text\n")
    assert users.account("eve") is None
    assert users.check("anna", GOOD) is not None

    path.unlink()
    assert users.check("anna", GOOD) is not None


@pytest.mark.parametrize(
    "line",
    ["anna", "anna:act", "anna:act:secret", "anna:admin:$argon2id$x", "an na:act:$argon2id$x", ":act:$argon2id$x"],
)
def test_a_line_that_is_wrong_is_told_by_its_number_and_not_quoted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"# people\n\n{line}\n")

    with pytest.raises(ConfigError, match="line 3") as caught:
        UsersFile(path)
    assert "secret" not in str(caught.value)


def test_a_name_that_stands_twice_is_refused(path: Path) -> None:
    path.write_text(path.read_text() * 2)

    with pytest.raises(ConfigError, match="stands twice"):
        read_users(path)


def test_a_file_with_nobody_in_it_would_lock_everybody_out(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("# nobody yet\n")

    with pytest.raises(ConfigError, match="holds nobody"):
        UsersFile(path)


@pytest.mark.parametrize("name", ["", "an na", "anna:act", "a" * 65, "-anna", "änna", "anna\n"])
def test_a_name_that_would_break_the_file_is_refused(path: Path, name: str) -> None:
    before = path.read_text()

    with pytest.raises(UsageError, match="user name"):
        set_user(path, name, Role.VIEW, GOOD)
    assert path.read_text() == before


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_a_password_has_a_length(path: Path, password: str) -> None:
    with pytest.raises(UsageError, match="password: found"):
        set_user(path, "anna", Role.VIEW, password)


def test_somebody_who_is_not_there_cannot_be_removed(path: Path) -> None:
    with pytest.raises(UsageError, match="anna, ward7"):
        remove_user(path, "eve")


def test_a_spoilt_hash_opens_for_nobody(path: Path) -> None:
    path.write_text("anna:act:$argon2id$v=19$nonsense\n")

    assert UsersFile(path).check("anna", GOOD) is None


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        set_user(tmp_path / "file" / "users", "anna", Role.VIEW, GOOD)
