"""Rules between keys, and on files that keys name. Each says what was found and what is accepted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from service.config.sections import Config
from service.config.values import is_loopback, split_calling_address

Key = tuple[str | int, ...]
Problem = tuple[tuple[Key, ...], str]
"""The keys a finding rests on, and the finding; it is dropped when one of those keys is itself faulty."""


def problems_between_keys(config: Config) -> Iterator[Problem]:
    """Everything that is wrong with a configuration whose single values are right."""
    for rule in _RULES:
        yield from rule(config)


def _listener_is_closed(config: Config) -> Iterator[Problem]:
    listener = config.listener
    keys = tuple(("listener", key) for key in ("host", "calling_ae_titles", "promiscuous"))
    if not (is_loopback(listener.host) or listener.calling_ae_titles or listener.promiscuous):
        yield (
            keys,
            f"listener.calling_ae_titles: found none with listener.host = {listener.host!r}, which other machines can "
            "reach; accepted: the AE titles that may send, or listener.promiscuous = true to accept any",
        )
    if listener.promiscuous and listener.calling_ae_titles:
        yield (
            keys,
            "listener.promiscuous: found true together with listener.calling_ae_titles; accepted: one of the two",
        )


def _addresses_are_of_callers(config: Config) -> Iterator[Problem]:
    listener = config.listener
    keys = tuple(("listener", key) for key in ("calling_addresses", "calling_ae_titles", "promiscuous"))
    for text in listener.calling_addresses:
        title, _ = split_calling_address(text)
        if title and title not in listener.calling_ae_titles and not listener.promiscuous:
            yield (
                keys,
                f"listener.calling_addresses: found {text!r}, whose AE title may not call; accepted: one of "
                "listener.calling_ae_titles",
            )


def _page_is_closed(config: Config) -> Iterator[Problem]:
    page = config.status_page
    keys = tuple(
        ("status_page", key) for key in ("enabled", "host", "authentication", "certificate", "proxy_addresses")
    )
    if not page.enabled or is_loopback(page.host):
        return
    if page.authentication == "none":
        yield (
            keys,
            f"status_page.host: found {page.host!r}, which other machines can reach, with status_page.authentication = "
            "'none'; accepted: a loopback address, or 'users' or 'proxy'",
        )
    elif not page.guarded_by_tls:
        yield (
            keys,
            f"status_page.certificate: missing with status_page.host = {page.host!r}, so passwords would cross the "
            "network readable; accepted: status_page.certificate and status_page.key, or status_page.proxy_addresses "
            "of a reverse proxy that speaks HTTPS",
        )


def _page_s_keys_fit(config: Config) -> Iterator[Problem]:
    page = config.status_page
    users, proxies = ("status_page", "users_file"), ("status_page", "proxy_addresses")
    mode = ("status_page", "authentication")
    if page.authentication == "users" and page.users_file is None:
        yield (
            (mode, users),
            "status_page.users_file: missing with status_page.authentication = 'users'; accepted: a file that "
            "`csf24 users set` has written",
        )
    if page.authentication == "proxy" and not page.proxy_addresses:
        yield (
            (mode, proxies),
            "status_page.proxy_addresses: found none with status_page.authentication = 'proxy'; accepted: the IP "
            "addresses of the reverse proxies whose word counts",
        )
    if page.authentication == "none" and (page.users_file or page.proxy_addresses):
        name = "users_file" if page.users_file else "proxy_addresses"
        yield (
            (mode, users, proxies),
            f"status_page.{name}: found with status_page.authentication = 'none'; accepted: 'users' or 'proxy'",
        )
    if page.proxy_acting_users and page.authentication != "proxy":
        yield (
            (mode, ("status_page", "proxy_acting_users")),
            f"status_page.proxy_acting_users: found with status_page.authentication = {page.authentication!r}; "
            "accepted: 'proxy' (roles of 'users' are in their file)",
        )
    if (page.certificate is None) != (page.key is None):
        missing = "key" if page.key is None else "certificate"
        yield (
            (("status_page", "certificate"), ("status_page", "key")),
            f"status_page.{missing}: missing; accepted: status_page.certificate and status_page.key together",
        )


def _ports_differ(config: Config) -> Iterator[Problem]:
    if config.status_page.enabled and config.status_page.port == config.listener.port:
        yield (
            (("status_page", "port"), ("listener", "port")),
            f"status_page.port: found {config.status_page.port}, which listener.port has too; accepted: another port",
        )


def _gpu_is_asked_of_a_gpu(config: Config) -> Iterator[Problem]:
    if config.inference.require_gpu and config.inference.provider != "cuda":
        yield (
            (("inference", "require_gpu"), ("inference", "provider")),
            f"inference.require_gpu: found true with inference.provider = {config.inference.provider!r}; "
            "accepted: 'cuda'",
        )


def _an_image_goes_out(config: Config) -> Iterator[Problem]:
    if not (config.outputs.secondary_capture or config.outputs.mr_image):
        yield (
            (("outputs", "secondary_capture"), ("outputs", "mr_image")),
            "outputs.secondary_capture: found false with outputs.mr_image = false; accepted: one of them true",
        )


def _delayed_window_exists(config: Config) -> Iterator[Problem]:
    names, predicted = config.pairing.windows.named(), config.pairing.windows.h24
    chosen = config.pairing.delayed_window
    earlier = [name for name, window in names.items() if name != "baseline" and window.latest_h <= predicted.earliest_h]
    if chosen not in earlier:
        accepted = f"a window that ends before '24 h' begins: {', '.join(map(repr, earlier))}"
        yield ((("pairing", "delayed_window"),), f"pairing.delayed_window: found {chosen!r}; accepted: {accepted}")
    if config.pairing.windows.baseline.latest_h > 0:
        yield (
            (("pairing", "windows", "baseline"),),
            f"pairing.windows.baseline: found an end {config.pairing.windows.baseline.latest_h:g} h after the "
            "injection; accepted: at most 0",
        )


def _destinations_have_names(config: Config) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, destination in enumerate(config.destinations):
        if destination.name in seen:
            yield (
                (("destinations", number, "name"),),
                f"destinations[{number}].name: found {destination.name!r} a second time; accepted: a name of its own",
            )
        seen.add(destination.name)


def _priors_come_from_a_destination(config: Config) -> Iterator[Problem]:
    names = [destination.name for destination in config.destinations]
    if config.priors.source and config.priors.source not in names:
        yield (
            (("priors", "source"),),
            f"priors.source: found {config.priors.source!r}; accepted: empty, or the name of a destination"
            f" ({', '.join(names) or 'there is none'})",
        )


def _no_loop(config: Config) -> Iterator[Problem]:
    listener = config.listener
    for number, destination in enumerate(config.destinations):
        same_host = is_loopback(destination.host) or destination.host == listener.host
        if same_host and destination.port == listener.port:
            yield (
                (("destinations", number), ("listener", "host"), ("listener", "port")),
                f"destinations[{number}].port: found {destination.port}, which is this service's own listener; "
                "accepted: the PACS's address and port",
            )


def _tls_is_whole(config: Config) -> Iterator[Problem]:
    tls = config.tls
    keys = tuple(("tls", key) for key in ("listener", "certificate", "key", "trusted", "verify_client"))
    if (tls.certificate is None) != (tls.key is None):
        missing = "key" if tls.key is None else "certificate"
        yield keys, f"tls.{missing}: missing; accepted: tls.certificate and tls.key together"
    if tls.listener and tls.certificate is None and tls.key is None:
        yield keys, "tls.certificate: missing with tls.listener = true; accepted: a PEM file, and tls.key with it"
    if tls.listener and tls.verify_client and tls.trusted is None:
        yield (
            keys,
            "tls.trusted: missing with tls.verify_client = true; accepted: a PEM file of the certificates to trust",
        )


def _receivers_are_whole(config: Config) -> Iterator[Problem]:
    wanted, section = config.notifications, "notifications"
    mail = {
        "mail_host": "the mail server",
        "mail_from": "the sender's address",
        "mail_to": "the addresses that get mail",
    }
    given = [name for name in mail if getattr(wanted, name)]
    for name, accepted in mail.items():
        if given and name not in given:
            yield (
                tuple((section, key) for key in mail),
                f"notifications.{name}: missing beside {', '.join(given)}; accepted: {accepted}",
            )
    if bool(wanted.mail_user) != bool(wanted.mail_password or wanted.mail_password_file):
        missing = "mail_password_file" if wanted.mail_user else "mail_user"
        yield (
            tuple((section, key) for key in ("mail_user", "mail_password", "mail_password_file")),
            f"notifications.{missing}: missing; accepted: mail_user and its password together",
        )
    for secret in ("webhook_token", "webhook_signing_key"):
        if not wanted.webhook_url and (getattr(wanted, secret) or getattr(wanted, f"{secret}_file")):
            yield (
                tuple((section, key) for key in ("webhook_url", secret, f"{secret}_file")),
                f"notifications.webhook_url: missing beside a {secret}; accepted: an https:// URL",
            )


def _files_are_there(config: Config) -> Iterator[Problem]:
    files = {
        ("tls", "certificate"): config.tls.certificate,
        ("tls", "key"): config.tls.key,
        ("tls", "trusted"): config.tls.trusted,
        ("pairing", "injection_times"): config.pairing.injection_times,
        ("outputs", "pdf_font"): config.outputs.pdf_font,
        ("status_page", "users_file"): config.status_page.users_file,
        ("status_page", "certificate"): config.status_page.certificate,
        ("status_page", "key"): config.status_page.key,
        ("notifications", "trusted"): config.notifications.trusted,
    }
    for key, path in files.items():
        if path is None or "PRIVATE KEY" in str(path):  # said elsewhere, without quoting it
            continue
        try:
            usable = path.is_file() and os.access(path, os.R_OK)
            found = "a folder" if path.is_dir() else "which this process cannot read" if path.exists() else "not there"
        except OSError as fault:
            usable, found = False, f"which is no path ({fault.strerror})"
        if not usable:
            yield (key,), f"{'.'.join(key)}: found {str(path)!r}, {found}; accepted: a readable file"
    for number, folder in enumerate(config.models.path):
        if not folder.is_dir():
            yield (
                (("models", "path", number),),
                f"models.path[{number}]: found {str(folder)!r}, not a folder; accepted: a folder with models in it",
            )


def _data_can_be_written(config: Config) -> Iterator[Problem]:
    wanted = config.storage.directory
    found = _nearest_existing(wanted)
    if not (found.is_dir() and os.access(found, os.W_OK | os.X_OK)):
        yield (
            (("storage", "directory"),),
            f"storage.directory: found {str(wanted)!r}, and {str(found)!r} cannot be written to; "
            "accepted: a folder that this process may write to or create",
        )


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


_RULES: tuple[Callable[[Config], Iterator[Problem]], ...] = (
    _listener_is_closed,
    _addresses_are_of_callers,
    _page_is_closed,
    _page_s_keys_fit,
    _ports_differ,
    _gpu_is_asked_of_a_gpu,
    _an_image_goes_out,
    _delayed_window_exists,
    _destinations_have_names,
    _priors_come_from_a_destination,
    _no_loop,
    _tls_is_whole,
    _receivers_are_whole,
    _files_are_there,
    _data_can_be_written,
)
