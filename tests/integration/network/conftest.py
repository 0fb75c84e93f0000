from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from service.network import tls
from service.network.listener import Listener
from service.network.storage_scp import storage_listener
from tests.builders.network import Certificates, Inbox, make_certificates, peer, settings, write_series
from tests.builders.orthanc import DEAF, OURS, Modality, Orthanc
from tests.builders.programs import free_ports


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Starts storage listeners that end with the test; keywords of settings and of storage_listener, mixed."""
    with ExitStack() as stack:

        def start(**given: object) -> Listener:
            own = {"receive", "admit", "on_released", "on_commitment", "on_refused", "intake", "tls"}
            wiring = {"receive": Inbox(), "admit": lambda _: None} | {k: v for k, v in given.items() if k in own}
            listener = storage_listener(settings(**{k: v for k, v in given.items() if k not in own}), **wiring)
            listener.start()
            stack.callback(listener.stop)
            return listener

        yield start


@pytest.fixture
def series(tmp_path):
    return write_series(tmp_path / "series", 4)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server_tls(certificates):
    return tls.server_context(
        certificate=certificates.server, key=certificates.server_key, trusted=certificates.authority
    )


@pytest.fixture
def client_tls(certificates):
    return tls.client_context(
        trusted=certificates.authority, certificate=certificates.client, key=certificates.client_key
    )


@pytest.fixture
def dcmtk_identity(certificates):
    """Options by which DCMTK's programs show the client's certificate."""
    return ("+tls", certificates.client_key, certificates.client, "+cf", certificates.authority)


@pytest.fixture(scope="module")
def ports():
    """Ours, and one on which nobody listens; Orthanc knows both."""
    return free_ports(2)


@pytest.fixture(scope="module")
def orthanc(ports):
    own, nobody = ports
    with Orthanc({"csf24": Modality(ae_title=OURS, port=own), "deaf": Modality(ae_title=DEAF, port=nobody)}) as server:
        yield server


@pytest.fixture
def pacs(orthanc):
    """Empty."""
    orthanc.clear()
    return peer(orthanc.dicom_port, orthanc.ae_title)
