"""The sections of the configuration file, with their defaults; frozen once loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from service.config.values import (
    Address,
    AETitle,
    Amount,
    CallingAddress,
    Count,
    CountOrZero,
    Flag,
    HeaderName,
    Host,
    HostOrNone,
    Hours,
    HttpsUrl,
    MailAddress,
    MailAddressOrNone,
    Name,
    OptionalPath,
    PageUrl,
    Port,
    Seconds,
    SyslogAddress,
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Listener(_Section):
    """The DICOM listener, and our side of every association."""

    ae_title: AETitle = "CSF24"
    host: Host = "127.0.0.1"
    port: Port = 11112
    calling_ae_titles: tuple[AETitle, ...] = ()
    calling_addresses: tuple[CallingAddress, ...] = ()
    promiscuous: Flag = False
    require_called_ae_title: Flag = True
    max_associations: Count = 10
    max_associations_per_address: Count = 8
    max_associations_per_minute: CountOrZero = 3000
    max_instance_mb: CountOrZero = 512
    max_association_mb: CountOrZero = 16384
    max_daily_mb: CountOrZero = 131072
    max_pdu: Annotated[int, Field(strict=True, ge=4096, le=1 << 24)] = 131072
    connect_timeout_s: Seconds = 10.0
    association_timeout_s: Seconds = 30.0
    dimse_timeout_s: Seconds = 60.0
    network_timeout_s: Seconds = 120.0


class Tls(_Section):
    """DICOM TLS (PS3.15 annex B): our identity and whom we trust."""

    listener: Flag = False
    certificate: OptionalPath = None
    key: OptionalPath = None
    trusted: OptionalPath = None
    verify_client: Flag = True
    minimum_version: Literal["1.2", "1.3"] = "1.2"


def _database(url: str) -> str:
    if url and not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        raise ValueError("empty, or a URL that begins with sqlite:///, postgresql:// or postgresql+psycopg://")
    return url


class Storage(_Section):
    """Where received instances, results and the ledger live."""

    directory: Path = Path("csf24-data")
    database: Annotated[str, AfterValidator(_database)] = Field(default="", repr=False)  # may hold a password
    database_password_file: OptionalPath = None
    min_free_mb: CountOrZero = 2048

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.database or f"sqlite:///{self.directory / 'ledger.sqlite'}"

    @property
    def ledger_file(self) -> Path | None:
        """The ledger's file; None when it is not SQLite."""
        prefix = "sqlite:///"
        url = self.ledger_url
        return Path(url.removeprefix(prefix).partition("?")[0]) if url.startswith(prefix) else None

    @property
    def min_free_bytes(self) -> int:
        """Associations are refused when less than this is free."""
        return self.min_free_mb * 1024 * 1024


class PairingWindow(NamedTuple):
    """Hours after the injection; the earliest is inside, the latest is not."""

    earliest_h: Hours
    latest_h: Hours


def _ordered(window: PairingWindow) -> PairingWindow:
    if window.earliest_h >= window.latest_h:
        raise ValueError("two hours, the earlier first")
    return window


Window = Annotated[PairingWindow, AfterValidator(_ordered)]


class Windows(_Section):
    """The time points of the founding paper: both its sets of names, as it uses 5-6/6-10 h and 5-7/7-9 h."""

    baseline: Window = PairingWindow(-720.0, 0.0)
    h1_2: Window = Field(default=PairingWindow(1.0, 2.0), alias="1-2 h")
    h3_5: Window = Field(default=PairingWindow(3.0, 5.0), alias="3-5 h")
    h5_6: Window = Field(default=PairingWindow(5.0, 6.0), alias="5-6 h")
    h5_7: Window = Field(default=PairingWindow(5.0, 7.0), alias="5-7 h")
    h6_10: Window = Field(default=PairingWindow(6.0, 10.0), alias="6-10 h")
    h7_9: Window = Field(default=PairingWindow(7.0, 9.0), alias="7-9 h")
    h24: Window = Field(default=PairingWindow(20.0, 28.0), alias="24 h")
    h48: Window = Field(default=PairingWindow(44.0, 52.0), alias="48 h")
    d29: Window = Field(default=PairingWindow(648.0, 744.0), alias="29 d")

    def named(self) -> dict[str, PairingWindow]:
        """Windows by the names the file uses."""
        fields = type(self).model_fields
        return {info.alias or name: getattr(self, name) for name, info in fields.items()}


class Pairing(_Section):
    """How baseline and delayed series find each other, and how long they are waited for."""

    delayed_window: str = "1-2 h"
    warn_tolerance_h: Amount = 0.0
    windows: Windows = Windows()
    injection_times: OptionalPath = None
    repetition_time_tolerance: Amount = 0.10
    echo_time_tolerance: Amount = 0.15
    flip_angle_tolerance_deg: Amount = 2.0
    spacing_tolerance: Amount = 0.25
    quiet_seconds: Seconds = 60.0
    incomplete_wait_minutes: Seconds = 60.0
    partner_wait_hours: Seconds = 48.0

    @property
    def delayed(self) -> PairingWindow:
        """The window that `delayed_window` names."""
        return self.windows.named()[self.delayed_window]


class Normalisation(_Section):
    """What the scans are divided by."""

    fallback: Literal["none", "white_matter"] = "none"


class Models(_Section):
    """Which model predicts; the wheel's own models are always found."""

    path: tuple[Path, ...] = ()
    default: Name = "volume3d"


class Inference(_Section):
    """Where the model runs."""

    provider: Literal["cpu", "cuda"] = "cpu"
    require_gpu: Flag = False
    threads: CountOrZero = 0


class Outputs(_Section):
    """What is sent for a prediction."""

    secondary_capture: Flag = True
    mr_image: Flag = False
    parametric_map: Flag = False
    structured_report: Literal["off", "basic-text", "comprehensive"] = "off"
    encapsulated_pdf: Flag = False
    pdf_font: OptionalPath = None
    study: Literal["baseline", "delayed"] = "baseline"


class Destination(_Section):
    """A PACS that gets the results."""

    name: Name
    ae_title: AETitle
    host: Host
    port: Port
    commitment: Literal["auto", "required", "off"] = "auto"
    commitment_wait_s: Seconds = 30.0
    tls: Flag = False


class Priors(_Section):
    """Where baselines are looked for that nobody sent."""

    source: Annotated[str, Field(max_length=64)] = ""
    method: Literal["move", "get"] = "move"
    most_series: Count = 8


class StatusPage(_Section):
    """The web page, health check and metrics."""

    enabled: Flag = True
    host: Host = "127.0.0.1"
    port: Port = 8024
    authentication: Literal["none", "users", "proxy"] = "none"
    users_file: OptionalPath = None
    session_hours: Annotated[float, Strict(), Field(gt=0, le=24)] = 8.0
    certificate: OptionalPath = None
    key: OptionalPath = None
    proxy_addresses: tuple[Address, ...] = ()
    proxy_user_header: HeaderName = "X-Remote-User"
    proxy_acting_users: tuple[str, ...] = ()

    @property
    def guarded_by_tls(self) -> bool:
        """Whether the browser's side is HTTPS: ours, or that of the proxy that alone may connect."""
        return self.certificate is not None or bool(self.proxy_addresses)


class Retention(_Section):
    """How long finished cases stay on this machine; 0 keeps them for good."""

    received_days: CountOrZero = 14
    results_days: CountOrZero = 90


Role = Literal["listen", "work"]


def _some_roles(roles: tuple[Role, ...]) -> tuple[Role, ...]:
    if not roles or len(set(roles)) < len(roles):
        raise ValueError("['listen'], ['work'] or ['listen', 'work']")
    return roles


class Service(_Section):
    """What this process does of what the service does."""

    roles: Annotated[tuple[Role, ...], AfterValidator(_some_roles)] = ("listen", "work")

    @property
    def listens(self) -> bool:
        """It has the DICOM listener."""
        return "listen" in self.roles

    @property
    def works(self) -> bool:
        """It pairs, converts and delivers."""
        return "work" in self.roles


class Workers(_Section):
    """Conversions at a time, and this process's identity among several machines."""

    count: Count = 1
    executor_id: Annotated[Name | None, BeforeValidator(lambda value: value or None)] = None


class Audit(_Section):
    """The audit trail (PS3.15 A.5), which unlike the log holds patient data; off until one of its places is named."""

    file: OptionalPath = None
    syslog: SyslogAddress = ""
    source: Name = "csf24"
    site: Annotated[str, Field(max_length=64)] = ""


class Notifications(_Section):
    """Who is told when something turns red; off until a receiver is named."""

    webhook_url: HttpsUrl = Field(default="", repr=False)  # chat services put their secret into it
    webhook_token: str = Field(default="", repr=False)
    webhook_token_file: OptionalPath = None
    webhook_signing_key: str = Field(default="", repr=False)
    webhook_signing_key_file: OptionalPath = None
    mail_host: HostOrNone = ""
    mail_port: Port = 587
    mail_security: Literal["starttls", "tls"] = "starttls"
    mail_from: MailAddressOrNone = ""
    mail_to: tuple[MailAddress, ...] = ()
    mail_user: Annotated[str, Field(max_length=256)] = ""
    mail_password: str = Field(default="", repr=False)
    mail_password_file: OptionalPath = None
    trusted: OptionalPath = None
    page_url: PageUrl = ""
    retrying_minutes: Amount = 10.0
    digest_seconds: Amount = 60.0
    max_per_hour: Count = 6


class Logging(_Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Config(_Section):
    """The whole configuration. `Config()` is the safe embedded default: loopback only, SQLite, CPU."""

    service: Service = Service()
    listener: Listener = Listener()
    tls: Tls = Tls()
    storage: Storage = Storage()
    pairing: Pairing = Pairing()
    normalisation: Normalisation = Normalisation()
    models: Models = Models()
    inference: Inference = Inference()
    outputs: Outputs = Outputs()
    destinations: tuple[Destination, ...] = ()
    priors: Priors = Priors()
    status_page: StatusPage = StatusPage()
    retention: Retention = Retention()
    workers: Workers = Workers()
    logging: Logging = Logging()
    audit: Audit = Audit()
    notifications: Notifications = Notifications()
