"""The case that a request is about."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request

CASE_ID = r"c[0-9a-f]{12}"
"""As a pattern; see `service.cases.digest_id`."""


def case_id_of(request: Request) -> str:
    """From the path; what cannot be one is 404 and reaches no source."""
    case_id: str = request.path_params["case_id"]
    if not re.fullmatch(CASE_ID, case_id):
        raise HTTPException(404)
    return case_id
