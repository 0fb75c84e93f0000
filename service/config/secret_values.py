"""Secrets come from files of their own or from the environment, never from the configuration file itself.

A configuration file is copied, mailed to support and kept in version control.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from service.config.rules import Key, Problem
from service.config.sections import Config

_DATABASE, _FILE = ("storage", "database"), ("storage", "database_password_file")
_PRIVATE_KEY = "PRIVATE KEY"
NOTIFICATIONS: tuple[Key, ...] = tuple(
    ("notifications", name) for name in ("webhook_token", "webhook_signing_key", "mail_password")
)
"""Each has a file beside it, named by the key with ``_file``."""
_ACCEPTED = (
    "accepted: a URL without one, and the password in a file that storage.database_password_file names, or the whole "
    "URL in the environment as CSF24_STORAGE__DATABASE"
)


def inline_secrets(config: Config, *, from_environment: Collection[Key]) -> Iterator[Problem]:
    """Secrets that are written where they do not belong; none is quoted.

    Parameters
    ----------
    from_environment
        Keys whose value is not the file's.
    """
    url = urlsplit(config.storage.database)
    if _holds_password(url):
        if _DATABASE not in from_environment:
            yield (_DATABASE,), f"storage.database: found a password in the configuration file; {_ACCEPTED}"
        if config.storage.database_password_file is not None:
            yield (
                (_DATABASE, _FILE),
                "storage.database_password_file: found one beside a password in storage.database; accepted: one of "
                "the two",
            )
    elif config.storage.database_password_file is not None and not url.username:
        yield (
            (_DATABASE, _FILE),
            "storage.database_password_file: found one without a user in storage.database; accepted: a URL such as "
            "postgresql+psycopg://USER@HOST/NAME",
        )
    for name in ("certificate", "key", "trusted"):
        value = getattr(config.tls, name)
        if value is not None and _PRIVATE_KEY in str(value):
            yield (("tls", name),), f"tls.{name}: found a key itself; accepted: the path of the file that holds it"
    yield from _notifications(config, from_environment)


def _notifications(config: Config, from_environment: Collection[Key]) -> Iterator[Problem]:
    for key in NOTIFICATIONS:
        section, name = str(key[0]), str(key[1])
        file: Key = (section, f"{name}_file")
        value, path = getattr(config.notifications, name), getattr(config.notifications, f"{name}_file")
        if value and path is not None:
            yield (key, file), f"{section}.{name}_file: found one beside {section}.{name}; accepted: one of the two"
        if value and key not in from_environment:
            yield (
                (key,),
                f"{section}.{name}: found a secret in the configuration file; accepted: a file that "
                f"{section}.{name}_file names, or the environment as CSF24_NOTIFICATIONS__{name.upper()}",
            )


def with_secrets(config: Config) -> Config:
    """`config` with what is in the files of secrets: the database's password in its URL, the others in their keys.

    Raises
    ------
    ValueError
        A file cannot be read, or does not hold one line; the text begins with the key.
    """
    told = {
        str(name): _of(f"notifications.{name}_file", path)
        for _, name in NOTIFICATIONS
        if (path := getattr(config.notifications, f"{name}_file")) is not None
    }
    config = config.model_copy(update={"notifications": config.notifications.model_copy(update=told)})
    path = config.storage.database_password_file
    if path is None:
        return config
    url = urlsplit(config.storage.database)
    host = url.netloc.rpartition("@")[2]
    password = quote(_of("storage.database_password_file", path), safe="")
    whole = url._replace(netloc=f"{quote(url.username or '', safe='%')}:{password}@{host}").geturl()
    return config.model_copy(update={"storage": config.storage.model_copy(update={"database": whole})})


def _holds_password(url: SplitResult) -> bool:
    return bool(url.password) or "password" in parse_qs(url.query)


def _of(key: str, path: Path) -> str:
    try:
        return _read(path)
    except ValueError as fault:
        raise ValueError(f"{key}: {fault}") from fault


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"found {str(path)!r}, which cannot be read") from fault
    if not text or "\n" in text:
        raise ValueError(f"found {str(path)!r}, which does not hold one line")
    return text
