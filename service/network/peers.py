"""Who talks: the peer, and this side of an association that we request."""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A DICOM application entity that we call.

    Attributes
    ----------
    name
        What the configuration calls it; used in messages and to tell commitment transactions apart.
    ae_title
        Its AE title, the called AE title of our associations.
    tls
        From `service.network.tls.client_context`; None speaks plain DICOM.
    """

    name: str
    ae_title: str
    host: str
    port: int
    tls: SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEntity:
    """Our side of an association that we request; times in seconds, PDU length in bytes.

    Attributes
    ----------
    association_timeout_s
        For the answer to an association or release request (ACSE).
    dimse_timeout_s
        For the answer to one DIMSE request; a PACS that indexes while it stores can be slow.
    network_timeout_s
        Without anything from the peer before the association is aborted.
    """

    ae_title: str = "CSF24"
    max_pdu: int = 131072
    connect_timeout_s: float = 10.0
    association_timeout_s: float = 30.0
    dimse_timeout_s: float = 60.0
    network_timeout_s: float = 120.0
