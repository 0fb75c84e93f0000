"""The web server of the status page: uvicorn on a thread of its own."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import uvicorn

from service.errors import ConfigError
from service.monitoring.access import Access, Open
from service.monitoring.action_routes import Actions
from service.monitoring.routes import OnPicture, Routes, Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of the page's identity."""

    certificate: Path
    key: Path


_GRACE_S = 3
_MAX_CONNECTIONS = 200


class StatusServer:
    """Serves the pages, health checks and metrics until it is stopped.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    access
        How visitors are told apart; `Open` when not given.
    actions
        What the buttons do; without it there are none.
    tls
        HTTPS, and nothing else.
    sources, config_path, on_picture
        See `service.monitoring.routes.Routes`; the sources are called from several threads.
    """

    def __init__(
        self,
        host: str,
        port: int,
        sources: Sources,
        *,
        access: Access | None = None,
        actions: Actions | None = None,
        tls: TlsFiles | None = None,
        config_path: str | None = None,
        on_picture: OnPicture = lambda _: None,
    ) -> None:
        self._address = (host, port)
        routes = Routes(sources, access or Open(), actions, config_path=config_path, on_picture=on_picture)
        self._server = uvicorn.Server(
            uvicorn.Config(
                routes.application(),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=tls.certificate if tls else None,
                ssl_keyfile=tls.key if tls else None,
                ssl_keyfile_password="-",  # noqa: S106 - so that a locked key is a fault and no question on a terminal
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._socket: socket.socket | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Listen; from here on connections are answered.

        Raises
        ------
        OSError
            The address cannot be bound.
        ConfigError
            Certificate and key cannot be used.
        """
        try:
            self._server.config.load()  # here, since a fault on the thread would be nobody's
        except ssl.SSLError as fault:
            raise ConfigError(
                [
                    f"status_page.certificate, status_page.key: found files that TLS cannot use ({fault.reason}); "
                    "accepted: a PEM certificate with its chain, and its private key without a password"
                ]
            ) from fault
        host, _ = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server(self._address, family=family)
        self._thread = Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="status-page", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._socket is None:
            raise RuntimeError("the status page is not started")
        bound: int = self._socket.getsockname()[1]
        return bound

    def stop(self) -> None:
        """Answer what was asked, then close."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * _GRACE_S)
        if self._socket is not None:
            self._socket.close()
