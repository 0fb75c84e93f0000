"""What a posted form holds, once it is known to come from one of our own pages."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl

from starlette.requests import Request

_LARGEST = 16 << 10
_KIND = "application/x-www-form-urlencoded"
_FOREIGN = "This form did not come from a page of this service, or the page is too old. Go back, reload, try again."


class Refused(Exception):
    """A request that is answered with a message, and with nothing done."""

    def __init__(self, status: int, title: str, text: str, *, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.title = title
        self.text = text
        self.headers = headers or {}
        super().__init__(title)


async def read_form(request: Request, proof: str) -> dict[str, str]:
    """The fields.

    Parameters
    ----------
    proof
        What the hidden field ``proof`` must be; another site cannot know it.

    Raises
    ------
    Refused
        The form is not ours, too long, or no form.
    """
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Refused(403, "Not taken", _FOREIGN)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _KIND:
        raise Refused(415, "Not taken", "Only forms of this service's pages are taken.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise Refused(413, "Not taken", "The form is too long.")
    try:
        fields = dict(parse_qsl(bytes(body).decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise Refused(400, "Not taken", "The form cannot be read.") from None
    if not proof or not hmac.compare_digest(fields.get("proof", "").encode(), proof.encode()):
        raise Refused(403, "Not taken", _FOREIGN)
    return fields
