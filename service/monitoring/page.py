"""The pages, rendered: records in, HTML out. Pure; they work without scripts and take nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.cases import CaseOutcome, CaseState
from service.monitoring import wording
from service.monitoring.access import ANYBODY, Visitor
from service.monitoring.browse import OVERLAYS, TITLES, browse
from service.monitoring.readiness import not_ready
from service.monitoring.remedies import possible_actions, remedy
from service.monitoring.snapshot import (
    CaseView,
    CheckView,
    LedgerFigures,
    PeerView,
    SeriesChoice,
    StatusSnapshot,
)
from service.monitoring.templating import environment
from service.monitoring.trends import trends

_S = CaseState
_ATTENTION = (_S.HELD, _S.FAILED)
_PROGRESS = (_S.RUNNING, _S.SENDING, _S.QUEUED)
_TONES: Mapping[str, str] = {
    _S.HELD: "warn",
    _S.QUEUED: "",
    _S.RUNNING: "busy",
    _S.SENDING: "busy",
    _S.DONE: "good",
    _S.FAILED: "bad",
    _S.DISCARDED: "",
    CaseOutcome.PREDICTED: "good",
    CaseOutcome.REFUSED: "warn",
    "interrupted": "warn",
}
_KINDS = ("sent", "refused", "discarded")
_FIRST = ("reject", "warn", "pass")
_PICTURE_OF_PREDICTION = "Baseline, delayed and predicted 24 h image with the predicted increase, in three sections."
_PICTURE_OF_REFUSAL = "What was received, in three sections; there is no prediction."


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A word in a coloured pill; the colour never says more than the word."""

    text: str
    tone: str


_ELSEWHERE = Label(text="other process", tone="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A number of cases, and the link to their list."""

    text: str
    number: int
    tone: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A row of the table of timings; `share` is per cent of the whole, None for the whole."""

    name: str
    seconds: float
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Verdicts of the health strip."""

    listener: Label
    disk: Label
    queue: Label
    model: Label
    machines: Label
    peers: tuple[Label, ...]
    no_peers: Label


def render(
    snapshot: StatusSnapshot,
    *,
    refreshing: bool = True,
    config_path: str | None = None,
    visitor: Visitor = ANYBODY,
    show: str = "",
) -> str:
    """The page of all cases.

    Parameters
    ----------
    refreshing
        The page asks for itself again every 10 s.
    config_path
        Of the configuration file, for the commands that the page spells out.
    show
        Which finished cases are listed: ``sent``, ``refused``, ``discarded``; anything else stands for all.
    """
    by_state = {state: [view for view in snapshot.cases if view.case.state is state] for state in _S}
    held_and_failed = [view for state in _ATTENTION for view in by_state[state]]
    attention = sorted(held_and_failed, key=lambda view: view.retrying)  # what waits for a person comes first
    kind = show if show in _KINDS else ""
    finished = [view for view in snapshot.cases if _kind(view) in ((kind,) if kind else _KINDS)]
    return _ENVIRONMENT.get_template("status.html").render(
        snapshot=snapshot,
        unready=not_ready(snapshot),
        verdict=_verdict(snapshot, attention),
        health=_health(snapshot),
        attention=[(view, remedy(view, config_path)) for view in attention],
        progress=[view for state in _PROGRESS for view in by_state[state]],
        finished=finished,
        finished_in_all=_finished_in_all(snapshot, kind, len(finished)),
        kind=kind,
        tiles=_tiles(snapshot.ledger) if snapshot.ledger else (),
        refreshing=refreshing,
        visitor=visitor,
    )


def render_case(
    view: CaseView,
    *,
    asked: Mapping[str, str] | None = None,
    config_path: str | None = None,
    visitor: Visitor = ANYBODY,
    choices: Sequence[SeriesChoice] = (),
) -> str:
    """The page of one case.

    Parameters
    ----------
    choices
        Series that a held case can be released with.
    asked
        The query: which section of which plane, which overlay.
    """
    refused = view.case.outcome is CaseOutcome.REFUSED
    return _ENVIRONMENT.get_template("case.html").render(
        view=view,
        visitor=visitor,
        label=case_label(view),
        refused=refused,
        remedy=remedy(view, config_path),
        stages=_stages(view.timings_s),
        possible=possible_actions(view),
        choices=choices,
        browse=browse(view.case.case_id, view.browsing, asked or {}) if view.browsing else None,
        # Single planes have no volume to leaf through: their prediction is seen in the preview only.
        whole=view.browsing is not None and (refused or "predicted" in view.browsing.layers),
        overlays=OVERLAYS,
        titles=TITLES,
        checks=sorted(view.checks, key=lambda check: _FIRST.index(check.verdict)),
        rejected=[check for check in view.checks if check.verdict == "reject"],
        warned=[check for check in view.checks if check.verdict == "warn"],
        picture_text=_PICTURE_OF_PREDICTION if view.case.outcome is CaseOutcome.PREDICTED else _PICTURE_OF_REFUSAL,
    )


def render_trends(snapshot: StatusSnapshot, *, visitor: Visitor = ANYBODY) -> str:
    """How predictions did against scans that were acquired at their time."""
    views = snapshot.follow_ups
    return _ENVIRONMENT.get_template("trends.html").render(
        trends=trends(views),
        open=sum(view.state == "wanted" for view in views),
        not_compared=[view for view in reversed(views) if view.state in ("refused", "failed")],
        visitor=visitor,
    )


def render_discard(view: CaseView, *, visitor: Visitor) -> str:
    """Asks whether a case is to be closed for good."""
    template = _ENVIRONMENT.get_template("discard.html")
    return template.render(case=view.case, label=case_label(view), visitor=visitor)


def render_message(title: str, text: str, *, visitor: Visitor = ANYBODY) -> str:
    """A page that only says something, e.g. that there is no such case."""
    return _ENVIRONMENT.get_template("message.html").render(title=title, text=text, visitor=visitor)


def render_log_in(*, proof: str, onward: str, problem: str) -> str:
    """The log-in form; `onward` is where it leads, `problem` what was wrong with the last try."""
    return _ENVIRONMENT.get_template("login.html").render(proof=proof, onward=onward, problem=problem, visitor=ANYBODY)


def case_label(view: CaseView) -> Label:
    """State of a case, or its outcome once it is done."""
    case = view.case
    if case.state is _S.DONE and case.outcome is not None:
        return Label(text=case.outcome.value, tone=_TONES.get(case.outcome, ""))
    if case.state is _S.FAILED and view.retrying:
        return Label(text="failed, retrying", tone="bad")
    if case.state is _S.SENDING and case.outcome is CaseOutcome.REFUSED:
        return Label(text="sending the refusal", tone="busy")
    return Label(text=case.state.value, tone=_TONES[case.state])


def _check_label(check: CheckView) -> Label:
    return Label(text=check.verdict, tone={"pass": "good", "warn": "warn", "reject": "bad"}[check.verdict])


def _verdict(snapshot: StatusSnapshot, attention: list[CaseView]) -> Label:
    if not_ready(snapshot):
        return Label(text="Not ready to receive", tone="bad")
    if attention:
        failed = any(view.case.state is _S.FAILED for view in attention)
        verb = "needs" if len(attention) == 1 else "need"
        text = f"{wording.plural(len(attention), 'case')} {verb} attention"
        return Label(text=text, tone="bad" if failed else "warn")
    missing = [machine.name for machine in snapshot.machines if machine.state != "alive"]
    if missing:
        return Label(text=f"Ready, but nothing is heard of {', '.join(missing)}", tone="warn")
    silent = [peer.name for peer in snapshot.peers if peer.answers is False]
    if silent:
        return Label(text=f"Ready, but no answer from {', '.join(silent)}", tone="warn")
    return Label(text="Ready; nothing needs attention", tone="good")


def _health(snapshot: StatusSnapshot) -> Health:
    disk, listener, queue, model = snapshot.disk, snapshot.listener, snapshot.queue, snapshot.model
    missing = sum(machine.state != "alive" for machine in snapshot.machines)
    return Health(
        listener=_ELSEWHERE
        if listener is None
        else Label(text="open", tone="good")
        if listener.listening
        else Label(text="down", tone="bad"),
        disk=Label(text="short", tone="bad") if disk.short else Label(text="enough", tone="good"),
        queue=_ELSEWHERE
        if queue is None
        else Label(text="working", tone="busy")
        if queue.running
        else Label(text="idle", tone=""),
        model=_ELSEWHERE if model is None else Label(text=model.provider.removesuffix("ExecutionProvider"), tone=""),
        machines=Label(text=f"{missing} missing", tone="bad") if missing else Label(text="all alive", tone="good"),
        peers=tuple(_peer_label(peer) for peer in snapshot.peers),
        no_peers=Label(text="not set up", tone="warn"),
    )


def _peer_label(peer: PeerView) -> Label:
    if peer.answers is None:
        return Label(text="unknown", tone="")
    return Label(text="answers", tone="good") if peer.answers else Label(text="no answer", tone="bad")


def _finished_in_all(snapshot: StatusSnapshot, kind: str, shown: int) -> int:
    if snapshot.ledger is None:
        return shown
    counted = _finished(snapshot.ledger)
    return max(shown, counted[kind] if kind else sum(counted.values()))


def _finished(figures: LedgerFigures) -> Mapping[str, int]:
    return {
        "sent": max(0, figures.cases.get(_S.DONE, 0) - figures.refused),
        "refused": figures.refused,
        "discarded": figures.cases.get(_S.DISCARDED, 0),
    }


def _kind(view: CaseView) -> str:
    """Of a finished case, how it ended; empty for others."""
    case = view.case
    if case.state is _S.DISCARDED:
        return "discarded"
    if case.state is not _S.DONE:
        return ""
    return "refused" if case.outcome is CaseOutcome.REFUSED else "sent"


def _tiles(figures: LedgerFigures) -> tuple[Tile, ...]:
    """How many cases stand where, each with the list that it counts."""
    cases, finished = figures.cases, _finished(figures)
    red, held = cases.get(_S.FAILED, 0), cases.get(_S.HELD, 0)
    return (
        Tile(text="red", number=red, tone="bad" if red else "", target="#attention"),
        Tile(text="held for a person", number=held, tone="warn" if held else "", target="#attention"),
        Tile(text="waiting", number=cases.get(_S.QUEUED, 0), tone="", target="#progress"),
        Tile(
            text="running or sending",
            number=cases.get(_S.RUNNING, 0) + cases.get(_S.SENDING, 0),
            tone="",
            target="#progress",
        ),
        Tile(text="refused", number=finished["refused"], tone="", target="/?show=refused#finished"),
        Tile(text="sent", number=finished["sent"], tone="", target="/?show=sent#finished"),
    )


def _stages(timings_s: Mapping[str, float]) -> tuple[Stage, ...]:
    total = sum(timings_s.values())
    if total <= 0:
        return ()
    rows = [
        Stage(name=name, seconds=seconds, share=round(100 * seconds / total, 1)) for name, seconds in timings_s.items()
    ]
    return (*rows, Stage(name="in all", seconds=total, share=None))


_ENVIRONMENT = environment({"label": case_label, "tone": lambda kind: _TONES.get(kind, ""), "verdict": _check_label})
