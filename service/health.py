"""Whether the service that a configuration describes is alive, asked of it over HTTP as a monitoring system would."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from http.client import HTTPException

ALIVE, READY = "/healthz", "/readyz"
_TIMEOUT_S = 3.0
_LONGEST_ANSWER = 1024


def ask(host: str, port: int, path: str, *, tls: bool) -> tuple[bool, str]:
    """The answer of the status page at `host`, an address that it is bound to.

    Returns
    -------
    Whether it answered 200; and what it said, or why nothing was heard.
    """
    name = reachable(host)
    name = f"[{name}]" if ":" in name else name
    # Without the proxies that the environment may name: it is this machine that is asked.
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # nothing is told, and the certificate names another address than ours
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unverified)
    )
    url = f"{'https' if tls else 'http'}://{name}:{port}{path}"
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            return True, _text(answer.read(_LONGEST_ANSWER))
    except urllib.error.HTTPError as fault:
        with fault:
            return False, f"{url}: {fault.code}, {_text(fault.read(_LONGEST_ANSWER))}"
    except (OSError, HTTPException) as fault:  # urllib's own errors are OSErrors
        return False, f"{url}: no answer ({getattr(fault, 'reason', fault)})"


def reachable(host: str) -> str:
    """An address that leads to a socket bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def _text(answer: bytes) -> str:
    return answer.decode(errors="replace").strip()
