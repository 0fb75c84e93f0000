"""The templates with the filters, the style sheet and the script they share."""

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


def _file(name: str) -> str:
    return files(_PACKAGE).joinpath("templates", name).read_text(encoding="utf-8")


def _source_expression(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_STYLE, _SCRIPT = _file("style.css"), _file("browse.js")
STYLE_HASH = _source_expression(_STYLE)
"""Source expression that lets a browser use our style sheet and no other (Content Security Policy level 3)."""
SCRIPT_HASH = _source_expression(_SCRIPT)
"""The same for the one script, which makes the slider of the case page smoother."""


def environment(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Templates that escape everything and stop at a name nobody supplied; `filters` beside those of `wording`."""
    made = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"style": Markup(_STYLE), "script": Markup(_SCRIPT), "version": __version__}  # noqa: S704 - our files
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
