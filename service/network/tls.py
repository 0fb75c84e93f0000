"""TLS for DICOM: the BCP 195 profile of PS3.15 B.12 (TLS 1.2 at least, forward secrecy, authenticated encryption).

It is met by peers of the older non-downgrading profile (B.10) as well: nothing is negotiated below TLS 1.2, by nobody.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from service.errors import ConfigError

# RFC 9325 4.1, 4.2: ephemeral key exchange on elliptic curves with AES-GCM or ChaCha20 only. TLS 1.3 suites are all of
# that kind. Level 2 refuses keys below 2048 bit of RSA, and SHA-1 in certificates (RFC 9325 4.5).
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
MinimumVersion = Literal["1.2", "1.3"]


def server_context(
    *,
    certificate: Path,
    key: Path,
    trusted: Path | None = None,
    verify_client: bool = True,
    minimum_version: MinimumVersion = "1.2",
) -> ssl.SSLContext:
    """Context for the listener; PEM files.

    Parameters
    ----------
    trusted
        Certificates of the authorities (or of the peers themselves) whose clients may connect.

    Raises
    ------
    ConfigError
        A file cannot be used, or clients are to be verified without anything to verify them against.
    """
    if verify_client and trusted is None:
        raise ConfigError(["tls.trusted: missing; accepted: a PEM file, since clients are to be verified"])
    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), minimum_version)
    _load_identity(context, certificate, key)
    if verify_client:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_trusted(context, trusted)
    return context


def client_context(
    *,
    trusted: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    minimum_version: MinimumVersion = "1.2",
) -> ssl.SSLContext:
    """Context for associations that we request; the peer's certificate and host name are verified.

    Parameters
    ----------
    trusted
        None trusts what the operating system trusts.
    certificate, key
        Our identity, for peers that ask for one.

    Raises
    ------
    ConfigError
        A file cannot be used.
    """
    context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), minimum_version)
    _load_trusted(context, trusted)
    if certificate is not None and key is not None:
        _load_identity(context, certificate, key)
    return context


def _hardened(context: ssl.SSLContext, minimum_version: MinimumVersion) -> ssl.SSLContext:
    context.minimum_version = _VERSIONS[minimum_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _refuse_password() -> str:
    # Without this OpenSSL asks on the terminal, and a service hangs there.
    raise ValueError("the key is encrypted")


def _load_identity(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except (OSError, ValueError) as fault:
        raise ConfigError(
            [
                f"tls.certificate, tls.key: found {str(certificate)!r} and {str(key)!r}, which cannot be used "
                f"({fault}); accepted: PEM files that belong together, the key without a password"
            ]
        ) from fault


def _load_trusted(context: ssl.SSLContext, trusted: Path | None) -> None:
    if trusted is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(trusted)
    except OSError as fault:
        raise ConfigError(
            [f"tls.trusted: found {str(trusted)!r}, which cannot be used ({fault}); accepted: a PEM file"]
        ) from fault
