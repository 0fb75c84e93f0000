from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from service import __version__
from service.cases import CaseState
from service.monitoring.metrics import render
from service.monitoring.snapshot import CaseView
from tests.builders.status import BASELINE_UID, DELAYED_UID, NOW, case, snapshot


def samples(text: str) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_counts_of_ledger_queue_and_disk_are_told():
    found = samples(render(snapshot()))

    assert found["csf24_cases", "held"] == 1
    assert found["csf24_cases", "done"] == 57
    assert found["csf24_cases", "running"] == 0
    assert found["csf24_outcomes", "refused"] == 6
    assert found["csf24_outcomes", "predicted"] == 51
    assert found["csf24_deliveries", "pending"] == 328
    assert found["csf24_instances",] == 8421
    assert found["csf24_instance_bytes",] == 4.41e9
    assert found["csf24_conflicting_instances",] == 1
    assert found["csf24_rejected_objects",] == 3
    assert found["csf24_series_unsettled",] == 2
    assert found["csf24_jobs", "waiting"] == 1
    assert found["csf24_jobs", "running"] == 2
    assert found["csf24_disk_free_bytes",] == 4.12e11
    assert found["csf24_last_association_age_seconds",] == 120
    assert found["csf24_peer_up", "PACS"] == 1
    assert found["csf24_peer_up", "PACS2"] == 0
    assert found["csf24_ready",] == 1


def test_every_metric_has_a_help_text_and_our_prefix():
    families = list(text_string_to_metric_families(render(snapshot())))

    assert families
    for family in families:
        assert family.name.startswith("csf24_")
        assert family.documentation.endswith(".")


def test_software_and_model_are_named_in_full():
    labels = {
        family.name: sample.labels
        for family in text_string_to_metric_families(render(snapshot()))
        for sample in family.samples
    }

    assert labels["csf24_build_info"] == {"version": __version__}
    assert labels["csf24_model_info"] == {
        "name": "volume3d",
        "version": "0.1.0",
        "sha256": "8aba3cd86c8a68ebf557b93a296b7a98624dda291bec85fdb8cde1882da918cf",
        "provider": "CPUExecutionProvider",
    }


def test_a_ledger_that_does_not_answer_reports_no_zeros():
    text = render(snapshot(ledger=None, cases=()))

    found = samples(text)
    assert found["csf24_ledger_up",] == 0
    assert found["csf24_ready",] == 0
    assert "csf24_cases" not in text
    assert "csf24_instances" not in text


def test_what_was_never_seen_is_left_out():
    unknown = replace(snapshot().peers[0], answers=None)

    found = samples(render(snapshot(last_association=None, peers=(unknown,))))

    assert ("csf24_last_association_age_seconds",) not in found
    assert ("csf24_peer_up", "PACS") not in found


def test_the_age_of_the_last_association_is_never_negative():
    future = replace(snapshot().last_association, at=NOW + timedelta(seconds=9))

    assert samples(render(snapshot(last_association=future)))["csf24_last_association_age_seconds",] == 0


def test_the_time_of_a_stage_is_told_over_the_cases_that_had_it():
    views = tuple(
        CaseView(case=case(number, CaseState.DONE), timings_s={"registration": float(number)})
        for number in (10, 3, 1, 2, 4, 5, 6, 7, 8, 9)
    )

    found = samples(render(snapshot(cases=(*views, CaseView(case=case(11, CaseState.QUEUED))))))

    assert found["csf24_stage_seconds", "registration", "median"] == 5.5
    assert found["csf24_stage_seconds", "registration", "p90"] == 9
    assert found["csf24_stage_seconds", "registration", "max"] == 10


def test_a_destination_with_quotes_in_its_name_breaks_nothing():
    odd = replace(snapshot().peers[0], name='a "b"\\\nc')

    assert samples(render(snapshot(peers=(odd,))))["csf24_peer_up", 'a "b"\\\nc'] == 1


def test_no_case_and_no_series_is_named():
    text = render(snapshot())

    assert "c00000000000" not in text
    assert BASELINE_UID not in text
    assert DELAYED_UID not in text


def test_what_the_listener_refused_is_counted_by_kind_and_reason():
    refused = {("association", "too_frequent"): 7, ("data", "instance_too_large"): 0}
    found = samples(render(snapshot(refused=refused, associations=3)))

    assert found["csf24_refused_total", "too_frequent", "association"] == 7
    assert found["csf24_refused_total", "instance_too_large", "data"] == 0
    assert found["csf24_associations",] == 3


def test_messages_to_people_are_counted_by_channel_and_result():
    found = samples(render(snapshot(notifications={("mail", "sent"): 4, ("webhook", "failed"): 2})))

    assert found["csf24_notifications_total", "mail", "sent"] == 4
    assert found["csf24_notifications_total", "webhook", "failed"] == 2
