"""Kinds of value that several sections use, each with what it accepts."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict

_AE_TITLE_LENGTH = 16
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?")
_MAIL_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _ae_title(text: str) -> str:
    """PS3.5 table 6.2-1, VR AE: 1 to 16 characters, no backslash, no control characters; spaces around do not count."""
    fits = 1 <= len(text) <= _AE_TITLE_LENGTH and text == text.strip(" ")
    if not fits or not text.isascii() or not text.isprintable() or "\\" in text:
        raise ValueError("1 to 16 ASCII characters, no backslash or control character, no space at either end")
    return text


def _host(text: str) -> str:
    if _HOST_NAME.fullmatch(text):
        return text
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("a host name or an IP address") from None
    return text


def split_calling_address(text: str) -> tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """``TITLE=NETWORK``, or ``NETWORK`` for every AE title, which gives an empty title.

    Raises
    ------
    ValueError
        The network is none, or the AE title breaks the rules for them.
    """
    title, mark, network = text.rpartition("=")
    return (_ae_title(title) if mark else ""), ipaddress.ip_network(network)


def split_syslog_address(text: str) -> tuple[Literal["udp", "tcp", "tls"], str, int]:
    """Of ``TRANSPORT://HOST:PORT``.

    Raises
    ------
    ValueError
        It is none.
    """
    address = urlsplit(text)
    scheme, host, port = address.scheme, address.hostname, address.port
    whole = host and port and not (address.path or address.query or address.username or address.fragment)
    if scheme not in ("udp", "tcp", "tls") or not host or not port or not whole:
        raise ValueError(text)
    return cast(Literal["udp", "tcp", "tls"], scheme), _host(host), port


def _syslog_address(text: str) -> str:
    if text:
        try:
            split_syslog_address(text)
        except ValueError:
            raise ValueError("empty, or udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT") from None
    return text


def _https_url(text: str) -> str:
    """It may hold a chat service's secret, so that messages do not quote it."""
    if text and not _is_url(text, ("https",)):
        raise ValueError("empty, or a URL such as https://HOST/PATH, without user and password")
    return text


def _page_url(text: str) -> str:
    if text and not _is_url(text, ("http", "https")):
        raise ValueError("empty, or the status page's URL, http:// or https://, without user and password")
    return text


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        address = urlsplit(text)
        port = address.port
        _host(address.hostname or "")
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and " " not in text and "@" not in address.netloc
    return plain and address.scheme in schemes and port != 0 and not address.fragment


def _mail_address(text: str) -> str:
    local, _, host = text.rpartition("@")
    if not _MAIL_LOCAL.fullmatch(local) or not _HOST_NAME.fullmatch(host):
        raise ValueError("an e-mail address such as mri@hospital.example, without a name beside it")
    return text


def _calling_address(text: str) -> str:
    try:
        split_calling_address(text)
    except ValueError:
        raise ValueError(
            "an IP address or a network such as '10.1.2.0/24', alone or, for one AE title only, as 'TITLE=10.1.2.3'"
        ) from None
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("an IP address, e.g. 10.20.1.7") from None


def _header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise ValueError("1 to 64 letters, digits or '-'")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit")
    return text


def _blank_is_unset(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Strict, since a TOML file has types: port = "11112" or promiscuous = 1 are mistakes worth hearing about.
AETitle = Annotated[str, AfterValidator(_ae_title)]
SyslogAddress = Annotated[str, AfterValidator(_syslog_address)]
CallingAddress = Annotated[str, AfterValidator(_calling_address)]
Host = Annotated[str, AfterValidator(_host)]
HostOrNone = Annotated[str, AfterValidator(lambda text: _host(text) if text else text)]
HttpsUrl = Annotated[str, AfterValidator(_https_url)]
PageUrl = Annotated[str, AfterValidator(_page_url)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
MailAddressOrNone = Annotated[str, AfterValidator(lambda text: _mail_address(text) if text else text)]
Address = Annotated[str, AfterValidator(_address)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Name = Annotated[str, AfterValidator(_name)]
Flag = Annotated[bool, Strict()]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Count = Annotated[int, Strict(), Field(ge=1)]
CountOrZero = Annotated[int, Strict(), Field(ge=0)]
Seconds = Annotated[float, Strict(), Field(gt=0, le=1e7, allow_inf_nan=False)]
Amount = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Hours = Annotated[float, Strict(), Field(allow_inf_nan=False)]
OptionalPath = Annotated[Path | None, BeforeValidator(_blank_is_unset)]
"""An empty text counts as not set, so that an example file can show the key."""
