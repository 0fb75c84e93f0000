"""What a person does about a case, with the commands as they are typed. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from service.cases import Case, CaseOutcome, CaseState
from service.monitoring.snapshot import CaseView


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line, word by word as the shell reads it, and what it does in a few words."""

    words: tuple[str, ...]
    does: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """Advice in a sentence or two, then the commands, likeliest first."""

    advice: str
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Possible:
    """Which buttons make sense for a case as it stands."""

    retry: bool
    release: bool
    discard: bool


def possible_actions(view: CaseView) -> Possible:
    """What the ledger would take; see `service.storage.case_rows.TRANSITIONS`."""
    case = view.case
    refused = case.state is CaseState.DONE and case.outcome is CaseOutcome.REFUSED
    return Possible(
        retry=refused or case.state is CaseState.FAILED,
        release=case.state is CaseState.HELD,
        discard=case.state not in (CaseState.DONE, CaseState.DISCARDED),
    )


def remedy(view: CaseView, config_path: str | None = None) -> Remedy | None:
    """What to do about this case; None when there is nothing to do.

    Parameters
    ----------
    config_path
        The file that the service was started with, so that a command meets the same ledger.
    """
    case = view.case
    if case.state is CaseState.HELD:
        return Remedy(
            advice=_held_advice(case),
            commands=(
                _command(f"cases release {case.case_id}{_missing(case)}", "Release it", config_path),
                _command(f"cases show {case.case_id}", "See series and history", config_path),
                _command(f"cases discard {case.case_id}", "Close it unsent", config_path),
            ),
        )
    if case.state is CaseState.FAILED and view.retrying:
        return Remedy(
            advice="csf24 keeps trying by itself. If the reason stays, look at what it names.",
            commands=(
                _command("doctor", "Test the installation", config_path),
                _command(f"cases discard {case.case_id}", "Give up", config_path),
            ),
        )
    if case.state is CaseState.FAILED:
        return Remedy(
            advice="Put right what the reason names, then have the case converted again.",
            commands=(
                _command(f"cases retry {case.case_id}", "Convert it again", config_path),
                _command("doctor", "Test the installation", config_path),
                _command(f"cases discard {case.case_id}", "Give up", config_path),
            ),
        )
    if case.outcome is CaseOutcome.REFUSED and case.state is CaseState.DONE:
        return Remedy(
            advice="The refusal was filed with the study in place of a prediction. If the cause can be put right, "
            "send the mended series, correct the time, or have the same ones looked at again.",
            commands=(
                _command(f"cases retry {case.case_id}", "Look at it again", config_path),
                _command(
                    f"cases release {case.case_id} --injection-time YYYY-MM-DDTHH:MM", "Correct the time", config_path
                ),
            ),
        )
    return None


def _command(arguments: str, does: str, config_path: str | None) -> Command:
    configured = ("--config", shlex.quote(config_path)) if config_path else ()
    return Command(words=("csf24", *arguments.split(), *configured), does=does)


def _paired(case: Case) -> bool:
    return bool(case.baseline_series_uid and case.delayed_series_uid)


def _held_advice(case: Case) -> str:
    supplied = [
        *(() if _paired(case) else ("which series is the baseline and which the delayed one",)),
        *(() if case.injection_time is not None else ("when the tracer was injected",)),
    ]
    if not supplied:
        return "Waits for a person: settle what the reason names, then release the case."
    return f"Waits for a person: say {', and '.join(supplied)}; the case is then converted."


def _missing(case: Case) -> str:
    series = "" if _paired(case) else " --baseline UID --delayed UID"
    injected = "" if case.injection_time is not None else " --injection-time YYYY-MM-DDTHH:MM"
    return series + injected
