"""From a TOML file and the environment to a `Config`, or to the list of everything that is wrong with them."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from service.config.rules import Key, problems_between_keys
from service.config.secret_values import NOTIFICATIONS, inline_secrets, with_secrets
from service.config.sections import Config
from service.errors import ConfigError

PREFIX = "CSF24_"
SEPARATOR = "__"
_DATABASE: Key = ("storage", "database")
_SECRET: tuple[Key, ...] = (_DATABASE, *NOTIFICATIONS, ("notifications", "webhook_url"))  # URLs may hold a password
_LONGEST_FOUND = 80


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in `path`, with ``CSF24_SECTION__KEY`` from `environ` taking precedence.

    Parameters
    ----------
    path
        A TOML file; None for the embedded defaults. Relative paths inside it start at the working directory.
    environ
        E.g. ``os.environ``. A value is plain text for keys that take text and a TOML literal for others;
        lists of texts may be written ``A,B``. ``CSF24_DESTINATIONS__0__HOST`` reaches into a list.
        An empty variable counts as not set.

    Raises
    ------
    ConfigError
        Lists every unknown key, wrong type and impossible value, each with what was found and what is accepted.
    """
    problems: list[str] = []
    values = {} if path is None else _read(path, problems)
    origins = _overlay(values, environ, problems)
    faulty: set[Key] = set()
    try:
        config = Config.model_validate(values)
    except ValidationError as fault:
        for error in fault.errors(include_url=False):
            key = tuple(error["loc"])
            faulty.add(key)
            problems.append(_in_words(key, error, origins))
        config = _salvage(values, faulty)
    secrets = inline_secrets(config, from_environment=origins.keys())
    for keys, text in (*problems_between_keys(config), *secrets):
        if not any(_overlap(key, bad) for key in keys for bad in faulty):
            problems.append(text)
    if problems:
        raise ConfigError(problems)
    try:
        return with_secrets(config)
    except ValueError as fault:
        accepted = "accepted: a file with the secret as its only line, which this process may read"
        raise ConfigError([f"{fault}; {accepted}"]) from fault


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Notepad puts a mark before it
    except OSError as fault:
        problems.append(f"{path}: {fault.strerror or type(fault).__name__}; accepted: a readable TOML file")
    except UnicodeDecodeError:
        problems.append(f"{path}: not text in UTF-8; accepted: a TOML file")
    except tomllib.TOMLDecodeError as fault:
        problems.append(f"{path}: not TOML: {fault}")
    return {}


def _overlay(values: dict[str, Any], environ: Mapping[str, str], problems: list[str]) -> dict[Key, str]:
    """Write the environment's values over the file's; which variable each key came from."""
    origins: dict[Key, str] = {}
    for name in sorted(environ):
        key = _key_of(name)
        if key is None or not environ[name].strip():
            continue
        if _put(values, key, _value(environ[name], _field(key))):
            origins[key] = name
        else:
            problems.append(f"{name}: found no place for {_spell(key)}; accepted: the next free number of its list")
    return origins


def _key_of(name: str) -> Key | None:
    """The key a variable stands for.

    Without the separator only a whole section counts: Kubernetes adds names such as CSF24_SERVICE_HOST
    and CSF24_PORT to every pod beside a service called csf24.
    """
    if not name.startswith(PREFIX):
        return None
    parts = name.removeprefix(PREFIX).lower().split(SEPARATOR)
    if len(parts) == 1 and parts[0] not in Config.model_fields:
        return None
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _put(values: dict[str, Any], key: Key, value: object) -> bool:
    """Set one key, making the sections on the way; False when a list on the way is too short."""
    place: Any = values
    for step, following in pairwise(key):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(place, list) and isinstance(step, int):
            if step == len(place):
                place.append(empty)
            if step >= len(place):
                return False
            place = place[step]
        elif isinstance(place, dict):
            place = place.setdefault(step, empty)
    last = key[-1]
    if isinstance(place, dict):
        place[last] = value
    elif isinstance(place, list) and isinstance(last, int):
        if last > len(place):
            return False
        place[last : last + 1] = [value]
    return True


def _value(text: str, field: FieldInfo | None) -> object:
    """`text` itself where the key takes it, else the TOML literal it spells, else the list it writes."""
    if field is None:
        return text
    adapter: TypeAdapter[object] = TypeAdapter(field.rebuild_annotation())
    literal = _literal(text)
    for candidate in (text, literal, [part.strip() for part in text.split(",")]):
        try:
            adapter.validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    return literal


def _literal(text: str) -> object:
    """The one TOML value that `text` spells, else `text`."""
    try:
        spelt = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return spelt["value"] if len(spelt) == 1 else text


def _model_of(annotation: object) -> type[BaseModel] | None:
    """The section inside an annotation such as ``Listener`` or ``tuple[Destination, ...]``."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _field(key: Key) -> FieldInfo | None:
    """The field that `key` names, if there is one."""
    model: type[BaseModel] | None = Config
    field: FieldInfo | None = None
    for step in key:
        if isinstance(step, int):
            continue
        field = _fields(model).get(step)
        model = _model_of(field.annotation) if field else None
    return field


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()} if model else {}


def _salvage(values: dict[str, Any], faulty: set[Key]) -> Config:
    """The configuration with the faulty keys left at their defaults, so that the other rules can be tried too."""
    kept = deepcopy(values)
    # Later elements of a list first, so that the indices of the earlier ones stay true.
    for key in sorted(faulty, key=lambda key: [str(part).rjust(6, "0") for part in key], reverse=True):
        _drop(kept, key)
    try:
        return Config.model_validate(kept)
    except ValidationError:
        return Config()


def _drop(values: dict[str, Any], key: Key) -> None:
    place: Any = values
    trail: list[tuple[Any, Any]] = []
    for step in key:
        found = isinstance(place, dict) and step in place
        found = found or (isinstance(place, list) and isinstance(step, int) and step < len(place))
        if not found:
            break
        trail.append((place, step))
        place = place[step]
    # An element of a list is only whole or gone: half a destination is none.
    for container, step in trail:
        if isinstance(container, list):
            del container[step]
            return
    if trail:
        container, step = trail[-1]
        del container[step]


def _overlap(key: Key, bad: Key) -> bool:
    shorter = min(len(key), len(bad))
    return key[:shorter] == bad[:shorter]


def _in_words(key: Key, error: Mapping[str, Any], origins: Mapping[Key, str]) -> str:
    origin = next((name for given, name in origins.items() if _overlap(given, key)), "")
    where = _spell(key) + (f" (from {origin})" if origin else "")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; accepted: {_suggest(key)}"
    if error["type"] == "missing":
        return f"{where}: missing, and there is no default"
    found = "(not shown)" if any(_overlap(key, secret) for secret in _SECRET) else _shorten(repr(error["input"]))
    accepted = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{where}: found {found}; accepted: {accepted}"


def _suggest(key: Key) -> str:
    model: type[BaseModel] | None = Config
    for step in key[:-1]:
        if not isinstance(step, int):
            field = _fields(model).get(step)
            model = _model_of(field.annotation) if field else None
    names: Sequence[str] = sorted(_fields(model))
    close = difflib.get_close_matches(str(key[-1]), names, n=1)
    return ", ".join(names) + (f" (did you mean {close[0]}?)" if close else "")


def _spell(key: Key) -> str:
    return "".join(_parts(key)).removeprefix(".")


def _parts(key: Key) -> Iterator[str]:
    for step in key:
        if isinstance(step, int):
            yield f"[{step}]"
        else:
            yield f".{step}" if " " not in step else f'."{step}"'


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 3] + "..."
