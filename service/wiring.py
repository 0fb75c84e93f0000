"""From the configuration to the objects it describes; part of the composition root."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from service import __version__
from service.config import Config, Destination, PairingWindow
from service.conversion import Converter
from service.dicom.facts import OutputSelection
from service.dicom.injection import InjectionTimes, read_injection_table
from service.dicom.policy import HoursWindow, PairingPolicy
from service.errors import ConfigError, ModelError
from service.follow_up import FollowUpJudge
from service.inference.manifest import check_served
from service.inference.onnx import OnnxPredictor, bundled_models_path, find_models, load_predictor, verify_parity
from service.monitoring.access import Access, LogIn, Open, Proxied
from service.monitoring.server import TlsFiles
from service.monitoring.users_file import UsersFile
from service.network.peers import LocalEntity, Peer
from service.network.tls import client_context
from service.page.fonts import is_font

FOLLOW_UP_WINDOW = "24 h"
"""The time that served models predict (`check_served`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """A model directory that was found."""

    name: str
    version: str
    directory: Path


def installed_models(config: Config) -> tuple[InstalledModel, ...]:
    """Models of the configured folders first, then the bundled ones."""
    paths = (*config.models.path, bundled_models_path())
    return tuple(InstalledModel(name=n, version=v, directory=d) for n, v, d in find_models(paths))


def choose_model(config: Config, name: str | None = None) -> InstalledModel:
    """The model called `name` (or the configured default), as ``NAME`` or ``NAME-VERSION``; the newest counts.

    Raises
    ------
    ModelError
        There is none of that name.
    """
    wanted = name or config.models.default
    models = installed_models(config)
    exact = [m for m in models if f"{m.name}-{m.version}" == wanted]
    named = [m for m in models if m.name == wanted]
    if not (exact or named):
        there = ", ".join(f"{m.name}-{m.version}" for m in models) or "none"
        raise ModelError(f"no model {wanted!r}; installed: {there}; `models.path` in the configuration adds folders")
    return exact[0] if exact else max(named, key=lambda m: _version_key(m.version))


def _version_key(version: str) -> tuple[object, ...]:
    """Orders ``1.10.0`` after ``1.9.0``, and ``1.0.0-rc1`` before ``1.0.0`` as Semantic Versioning does."""
    release, _, early = version.partition("-")
    return _parts(release), not early, _parts(early)


def _parts(version: str) -> tuple[tuple[int, int | str], ...]:
    return tuple((1, int(part)) if part.isdecimal() else (0, part) for part in version.split("."))


def load_model(config: Config, name: str | None = None) -> OnnxPredictor:
    """The chosen model, on the configured provider, its golden answer replayed.

    Raises
    ------
    ModelError
        It is missing, altered, runs elsewhere than asked, gives another answer than it should, or is made for other
        visits than the service has.
    """
    directory = choose_model(config, name).directory
    inference = config.inference
    predictor = load_predictor(
        directory, provider=inference.provider, threads=inference.threads, require_gpu=inference.require_gpu
    )
    check_served(predictor.manifest)
    verify_parity(directory, predictor)
    return predictor


def make_converter(config: Config, model: str | None = None) -> Converter:
    """A converter with the model loaded and proven."""
    return converter_with(config, load_model(config, model))


def converter_with(config: Config, predictor: OnnxPredictor) -> Converter:
    """A converter around a loaded model."""
    return Converter(
        predictor,
        policy=pairing_policy(config),
        outputs=output_selection(config),
        fallback=config.normalisation.fallback,
        software_version=__version__,
        clock=time.perf_counter,
        page_font=page_font(config),
    )


def follow_up_judge(config: Config, predictor: OnnxPredictor) -> FollowUpJudge:
    """What holds predictions against later scans."""
    return FollowUpJudge(
        predictor, policy=pairing_policy(config), fallback=config.normalisation.fallback, clock=time.perf_counter
    )


def pairing_policy(config: Config) -> PairingPolicy:
    """The site's rules for pairs."""
    pairing = config.pairing
    windows = pairing.windows.named()
    return PairingPolicy(
        delayed=_window(pairing.delayed_window, pairing.delayed),
        baseline=_window("baseline", windows["baseline"]),
        follow_up=_window(FOLLOW_UP_WINDOW, windows[FOLLOW_UP_WINDOW]),
        time_points=tuple(
            _window(name, window)
            for name, window in windows.items()
            if name not in ("baseline", pairing.delayed_window)
        ),
        warn_tolerance_h=pairing.warn_tolerance_h,
        repetition_time_tolerance=pairing.repetition_time_tolerance,
        echo_time_tolerance=pairing.echo_time_tolerance,
        flip_angle_tolerance_deg=pairing.flip_angle_tolerance_deg,
        spacing_tolerance=pairing.spacing_tolerance,
        partner_wait=timedelta(hours=pairing.partner_wait_hours),
        incomplete_wait=timedelta(minutes=pairing.incomplete_wait_minutes),
    )


def _window(name: str, window: PairingWindow) -> HoursWindow:
    return HoursWindow(name=name, earliest_h=window.earliest_h, latest_h=window.latest_h)


def injection_times(path: Path | None) -> InjectionTimes:
    """What the site's table says; nothing without one.

    Raises
    ------
    ConfigError
        It cannot be read; every fault is listed.
    """
    if path is None:
        return InjectionTimes()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(
            [f"pairing.injection_times: {path} cannot be read ({type(fault).__name__}); accepted: a CSV file in UTF-8"]
        ) from fault
    return InjectionTimes(table=read_injection_table(text))


def output_selection(config: Config) -> OutputSelection:
    """What a prediction becomes."""
    outputs, font = config.outputs, page_font(config)
    return OutputSelection(
        secondary_capture=outputs.secondary_capture,
        mr_image=outputs.mr_image,
        parametric_map=outputs.parametric_map,
        structured_report=outputs.structured_report,
        encapsulated_pdf=outputs.encapsulated_pdf,
        pdf_font_sha256=hashlib.sha256(font).hexdigest() if font else "",
        study=outputs.study,
    )


def page_font(config: Config) -> bytes | None:
    """The site's font for letters that the page for print lacks; None without one.

    Raises
    ------
    ConfigError
        It cannot be read, or is no font.
    """
    path = config.outputs.pdf_font
    if path is None or not config.outputs.encapsulated_pdf:
        return None
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise ConfigError([f"outputs.pdf_font: {path} cannot be read ({type(fault).__name__})"]) from fault
    if not is_font(content):
        raise ConfigError([f"outputs.pdf_font: {path} is no font; accepted: a TrueType or OpenType font"])
    return content


def local_entity(config: Config) -> LocalEntity:
    """Our side of associations that we request."""
    listener = config.listener
    return LocalEntity(
        ae_title=listener.ae_title,
        max_pdu=listener.max_pdu,
        connect_timeout_s=listener.connect_timeout_s,
        association_timeout_s=listener.association_timeout_s,
        dimse_timeout_s=listener.dimse_timeout_s,
        network_timeout_s=listener.network_timeout_s,
    )


def page_access(config: Config, now: Callable[[], datetime]) -> Access:
    """How the status page tells visitors apart.

    Raises
    ------
    ConfigError
        The users file cannot be used.
    """
    page = config.status_page
    if page.authentication == "users" and page.users_file is not None:
        return LogIn(
            UsersFile(page.users_file),
            lasting=timedelta(hours=page.session_hours),
            proxies=page.proxy_addresses,
            secure=page.guarded_by_tls,
            now=now,
        )
    if page.authentication == "proxy":
        return Proxied(proxies=page.proxy_addresses, header=page.proxy_user_header, acting=page.proxy_acting_users)
    return Open()


def page_tls(config: Config) -> TlsFiles | None:
    """The status page's certificate and key, if it has any."""
    page = config.status_page
    if page.certificate is None or page.key is None:
        return None
    return TlsFiles(certificate=page.certificate, key=page.key)


def peers(config: Config) -> Mapping[str, tuple[Peer, Destination]]:
    """Destinations by name.

    Raises
    ------
    ConfigError
        TLS files cannot be used.
    """
    tls = config.tls
    context = None
    if any(destination.tls for destination in config.destinations):
        context = client_context(
            trusted=tls.trusted, certificate=tls.certificate, key=tls.key, minimum_version=tls.minimum_version
        )
    return {
        destination.name: (
            Peer(
                name=destination.name,
                ae_title=destination.ae_title,
                host=destination.host,
                port=destination.port,
                tls=context if destination.tls else None,
            ),
            destination,
        )
        for destination in config.destinations
    }
