"""csf24: the command line. Reads configuration and environment, calls the parts, prints; no logic of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console

from service import __version__
from service.cli_cases import app as cases_app
from service.cli_convert import convert
from service.cli_models import app as models_app
from service.cli_users import app as users_app
from service.config import load_config
from service.errors import ConfigError, Csf24Error, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Predicts the 24 h intrathecal-contrast MRI and files it in PACS. Research use, not for diagnosis.",
)
app.add_typer(cases_app, name="cases")
app.add_typer(models_app, name="models")
app.add_typer(users_app, name="users")
app.command()(convert)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; without it the embedded defaults.")]
_EXIT_FAILED, _EXIT_USAGE = 1, 2
_RUNTIME = "onnxruntime"
_err = Console(stderr=True, soft_wrap=True)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except (ConfigError, UsageError) as error:
        _fail(str(error), _EXIT_USAGE)
    except Csf24Error as error:
        _fail(str(error), _EXIT_FAILED)
    except ModuleNotFoundError as error:
        if error.name != _RUNTIME:
            raise
        _fail("onnxruntime is not installed: pip install 'csf24[cpu]', or 'csf24[gpu]' with an NVIDIA GPU", _EXIT_USAGE)


def _fail(message: str, status: int) -> None:
    _err.print(message, style="red", markup=False, highlight=False)
    sys.exit(status)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"csf24 {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options before a command."""


@app.command()
def serve(*, config: ConfigFile = None) -> None:
    """Listen for DICOM, convert what pairs up, deliver the results; until SIGTERM or Ctrl-C."""
    from service.app import serve as run
    from service.monitoring.log import configure_logging

    loaded = load_config(config, os.environ)
    configure_logging(loaded.logging.level, loaded.logging.format, sys.stderr)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not run(loaded, stop, config_path=config):
        sys.stderr.flush()
        os._exit(0)  # the interpreter would wait for the step that was given up; a kill is safe at any moment


@app.command()
def demo(
    *,
    input: Annotated[Path | None, typer.Option(help="Folder with a baseline and a delayed series of yours.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the demo's files.")] = Path("demo"),
    injection_time: Annotated[
        str | None, typer.Option(help="ISO 8601, where the series do not state their contrast start time.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to use.")] = None,
) -> None:
    """The whole loop on this machine: a PACS, the service, a patient, the prediction back in the PACS."""
    from service.case_actions import parse_time
    from service.demo import run_demo

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that PACS and service end too
    injected = parse_time(injection_time) if injection_time else None
    status = run_demo(source=input, out=out, injection_time=injected, model=model, console=Console())
    raise typer.Exit(status)


@app.command()
def doctor(
    *,
    config: ConfigFile = None,
    phantom: Annotated[bool, typer.Option(help="Also convert the simulated patient, start to end.")] = False,
    notify: Annotated[bool, typer.Option(help="Also send a test message to who is notified.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Check everything that goes wrong at installations: ports, peers, TLS, disk, database, models, provider."""
    from service.doctor import examine, render

    findings = examine(config, os.environ, phantom=phantom, notify=notify)
    if as_json:
        typer.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        render(findings, Console())
    raise typer.Exit(_EXIT_FAILED if any(finding.failed for finding in findings) else 0)


@app.command()
def health(
    *,
    config: ConfigFile = None,
    ready: Annotated[bool, typer.Option("--ready", help="Also whether patients can be received and filed.")] = False,
) -> None:
    """Ask the running service, over HTTP, whether it is alive; status 1 if not. For container engines."""
    from service.health import ALIVE, READY, ask

    page = load_config(config, os.environ).status_page
    if not page.enabled:
        raise UsageError("status_page.enabled is false, so nothing answers; switch the health check off too")
    well, answer = ask(page.host, page.port, READY if ready else ALIVE, tls=page.certificate is not None)
    typer.echo(answer, err=not well)
    raise typer.Exit(0 if well else _EXIT_FAILED)
