"""The web server of the status page: uvicorn on a thread of its own."""

from __future__ import annotations

import socket
from threading import Thread

import uvicorn

from service.monitoring.routes import Routes, Sources

_GRACE_S = 3
_MAX_CONNECTIONS = 200


class StatusServer:
    """Serves the pages, health checks and metrics until it is stopped.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    sources, config_path
        See `service.monitoring.routes.Routes`; the sources are called from several threads.
    """

    def __init__(
        self,
        host: str,
        port: int,
        sources: Sources,
        *,
        config_path: str | None = None,
    ) -> None:
        self._address = (host, port)
        routes = Routes(sources, config_path=config_path)
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
        """
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
