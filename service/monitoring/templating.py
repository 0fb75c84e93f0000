"""The templates with the filters and the style sheet they share."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from service import __version__
from service.monitoring import wording

_PACKAGE = "service.monitoring"
_STYLE = files(_PACKAGE).joinpath("templates", "style.css").read_text(encoding="utf-8")
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
"""Source expression that lets a browser use our style sheet and no other (Content Security Policy level 3)."""


def environment(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Templates that escape everything and stop at a name nobody supplied; `filters` beside those of `wording`."""
    made = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"style": Markup(_STYLE), "version": __version__}  # noqa: S704 - a file of this package
    made.filters |= {
        "ago": wording.ago,
        "duration": wording.duration,
        "figure": wording.figure,
        "hours": wording.hours,
        "moment": wording.moment,
        "plural": wording.plural,
        "seconds": wording.seconds,
        "size": wording.size,
        "timestamp": wording.timestamp,
        **filters,
    }
    return made
