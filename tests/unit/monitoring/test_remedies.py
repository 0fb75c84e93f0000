from __future__ import annotations

import shlex

import pytest
import typer

from service.cases import CaseOutcome, CaseState
from service.cli import app
from service.monitoring.remedies import remedy
from service.monitoring.snapshot import CaseView
from tests.builders.status import case

VIEWS = {
    "held": CaseView(case=case(1, CaseState.HELD)),
    "held, nothing known": CaseView(
        case=case(1, CaseState.HELD, injection_time=None, baseline_series_uid="", delayed_series_uid="")
    ),
    "failed": CaseView(case=case(1, CaseState.FAILED)),
    "failed, retrying": CaseView(case=case(1, CaseState.FAILED), retrying=True),
    "refused": CaseView(case=case(1, CaseState.DONE, outcome=CaseOutcome.REFUSED)),
}
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())


@every_view
def test_every_command_is_one_that_the_command_line_takes(view):
    found = remedy(view, "/etc/csf24/csf24.toml")

    assert found is not None
    for command in found.commands:
        program, *words = shlex.split(" ".join(command.words))
        assert program == "csf24"
        parser = typer.main.get_command(app)
        context = None
        while hasattr(parser, "commands"):
            context = parser.make_context(words[0], [words[0]], parent=context, resilient_parsing=True)
            name, parser, words = parser.resolve_command(context, words)
        parser.make_context(name, words, parent=context)  # raises on an unknown option or a missing argument


@every_view
def test_the_service_s_own_configuration_is_named(view):
    for command in remedy(view, "/srv/two words.toml").commands:
        assert shlex.split(" ".join(command.words))[-2:] == ["--config", "/srv/two words.toml"]
    for command in remedy(view).commands:
        assert "--config" not in command.words


def test_a_held_case_is_asked_only_for_what_it_lacks():
    (release, *_) = remedy(VIEWS["held"]).commands
    assert release.words == ("csf24", "cases", "release", "c000000000001")

    (release, *_) = remedy(VIEWS["held, nothing known"]).commands
    assert release.words[4:] == ("--baseline", "UID", "--delayed", "UID", "--injection-time", "YYYY-MM-DDTHH:MM")


def test_a_failed_case_that_retries_is_not_to_be_retried_by_hand():
    lines = [" ".join(command.words) for command in remedy(VIEWS["failed, retrying"]).commands]

    assert not any("retry" in line for line in lines)


@pytest.mark.parametrize("state", [CaseState.QUEUED, CaseState.RUNNING, CaseState.SENDING, CaseState.DISCARDED])
def test_nothing_is_to_be_done_about_a_case_that_goes_its_way(state):
    assert remedy(CaseView(case=case(1, state))) is None


def test_nothing_is_to_be_done_about_a_prediction():
    assert remedy(CaseView(case=case(1, CaseState.DONE, outcome=CaseOutcome.PREDICTED))) is None
