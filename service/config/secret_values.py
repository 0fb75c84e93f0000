"""Secrets come from files of their own or from the environment, never from the configuration file itself.

A configuration file is copied, mailed to support and kept in version control.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from service.config.rules import Problem
from service.config.sections import Config

_DATABASE, _FILE = ("storage", "database"), ("storage", "database_password_file")
_PRIVATE_KEY = "PRIVATE KEY"
_ACCEPTED = (
    "accepted: a URL without one, and the password in a file that storage.database_password_file names, or the whole "
    "URL in the environment as CSF24_STORAGE__DATABASE"
)


def inline_secrets(config: Config, *, database_from_environment: bool) -> Iterator[Problem]:
    """Secrets that are written where they do not belong; none is quoted."""
    url = urlsplit(config.storage.database)
    if _holds_password(url):
        if not database_from_environment:
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


def with_password(config: Config) -> Config:
    """`config` with the password of the database where its URL wants it.

    Raises
    ------
    ValueError
        The file cannot be read, or holds no password.
    """
    path = config.storage.database_password_file
    if path is None:
        return config
    url = urlsplit(config.storage.database)
    host = url.netloc.rpartition("@")[2]
    whole = url._replace(netloc=f"{quote(url.username or '', safe='%')}:{quote(_read(path), safe='')}@{host}").geturl()
    return config.model_copy(update={"storage": config.storage.model_copy(update={"database": whole})})


def _holds_password(url: SplitResult) -> bool:
    return bool(url.password) or "password" in parse_qs(url.query)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"found {str(path)!r}, which cannot be read") from fault
    if not text or "\n" in text:
        raise ValueError(f"found {str(path)!r}, which does not hold one line")
    return text
