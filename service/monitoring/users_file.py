"""The people who may log in to the status page: a file with a name, a role and a password hash a line.

::

    anna:act:$argon2id$v=19$m=65536,t=3,p=4$...
    ward7:view:$argon2id$...
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore, Lock

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from service.errors import ConfigError, UsageError
from service.monitoring.role import Role

SHORTEST_PASSWORD = 10
_LONGEST_PASSWORD = 1024
_AT_ONCE = 2  # each check takes 64 MiB and a core; more at a time would be a way to stop the service
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_HASHER = PasswordHasher()  # argon2id with the library's parameters, RFC 9106's second choice

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A line of the file."""

    name: str
    role: Role
    password_hash: str


class UsersFile:
    """The file as the page sees it: read again whenever it changes.

    Raises
    ------
    ConfigError
        From the constructor: it cannot be read, holds nobody, or a line is wrong. A file that is spoilt later is
        logged, and who was known before stays known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._checking = BoundedSemaphore(_AT_ONCE)
        self._seen = _stamp(path)
        self._accounts = read_users(path)
        _decoy()
        if not self._accounts:
            raise ConfigError(
                [f"status_page.users_file: {path} holds nobody; accepted: a file that `csf24 users set` has written"]
            )

    def account(self, name: str) -> Account | None:
        """Who has this name now."""
        self._refresh()
        return self._accounts.get(name)

    def check(self, name: str, password: str) -> Account | None:
        """The account, if the password is right; takes as long for a name that nobody has."""
        account = self.account(name)
        known = account.password_hash if account else _decoy()
        try:
            with self._checking:
                _HASHER.verify(known, password[:_LONGEST_PASSWORD])
        except (Argon2Error, InvalidHashError):
            return None
        return account

    def _refresh(self) -> None:
        with self._lock:
            stamp = _stamp(self._path)
            if stamp == self._seen:
                return
            self._seen = stamp
            try:
                self._accounts = read_users(self._path)
            except ConfigError as fault:
                _log.warning("the users file cannot be used; the last good one stays", fault=str(fault))


def read_users(path: Path) -> Mapping[str, Account]:
    """Accounts by name.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line is wrong; no line is quoted.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(
            [f"status_page.users_file: {path} cannot be read ({type(fault).__name__}); accepted: a text file"]
        ) from fault
    accounts: dict[str, Account] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        account = _account(line)
        if account is None or account.name in accounts:
            problems.append(
                f"status_page.users_file: line {number} of {path} is no NAME:ROLE:HASH, or a name stands twice; "
                "accepted: lines that `csf24 users set` writes"
            )
        else:
            accounts[account.name] = account
    if problems:
        raise ConfigError(problems)
    return accounts


def set_user(path: Path, name: str, role: Role, password: str) -> None:
    """Add somebody, or give them another role and password.

    Raises
    ------
    UsageError
        The name or the password cannot be used.
    ConfigError
        The file is there and cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"user name: found {name!r}; accepted: letters, digits, '.', '_', '-' or '@', 64 at most")
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise UsageError(f"password: found {len(password)} characters; accepted: {SHORTEST_PASSWORD} or more")
    accounts = dict(read_users(path)) if path.exists() else {}
    accounts[name] = Account(name=name, role=role, password_hash=_HASHER.hash(password))
    _write(path, accounts)


def remove_user(path: Path, name: str) -> None:
    """Take somebody out.

    Raises
    ------
    UsageError
        There is nobody of that name.
    """
    accounts = dict(read_users(path))
    if name not in accounts:
        raise UsageError(f"user name: found {name!r}; accepted: {', '.join(sorted(accounts)) or 'nobody is there'}")
    del accounts[name]
    _write(path, accounts)


@cache
def _decoy() -> str:
    """What the password of an unknown name is held against, so that it takes as long as a wrong one."""
    return _HASHER.hash("nobody's")


def _account(line: str) -> Account | None:
    name, _, rest = line.partition(":")
    role, _, password_hash = rest.partition(":")
    if not (_NAME.fullmatch(name) and role in set(Role) and password_hash.startswith("$argon2")):
        return None
    return Account(name=name, role=Role(role), password_hash=password_hash.strip())


def _write(path: Path, accounts: Mapping[str, Account]) -> None:
    """Whole or not at all; nobody else may read it, unless whoever set up the file there allowed it."""
    draft = path.with_name(f".{path.name}.part")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in _lines(accounts))
        if path.exists():
            earlier = path.stat()
            draft.chmod(earlier.st_mode & 0o777)
            with suppress(PermissionError):
                os.chown(draft, earlier.st_uid, earlier.st_gid)
        draft.replace(path)
    except OSError as fault:
        raise UsageError(f"{path} cannot be written ({fault.strerror or type(fault).__name__})") from fault


def _lines(accounts: Mapping[str, Account]) -> Iterator[str]:
    for account in accounts.values():
        yield f"{account.name}:{account.role.value}:{account.password_hash}"


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
