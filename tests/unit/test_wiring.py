"""From the configuration to the objects it describes."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from pathlib import Path

import pytest

from service.config import Config, load_config
from service.dicom.policy import PairingPolicy
from service.errors import ConfigError, ModelError
from service.inference.onnx import bundled_models_path
from service.wiring import (
    choose_model,
    injection_times,
    installed_models,
    load_model,
    local_entity,
    output_selection,
    page_font,
    pairing_policy,
    peers,
)
from tests.builders.models import tiny_model
from tests.builders.page import font_with


def configured(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "csf24.toml"
    path.write_text(text)
    return load_config(path, {})


def with_models(tmp_path: Path, *versions: str) -> Config:
    folder = tmp_path / "models"
    folder.mkdir()
    for version in versions:
        tiny_model(folder, (1, 1, 8, 8), version=version)
    return configured(tmp_path, f'[models]\npath = ["{folder}"]\ndefault = "tiny"\n')


OLD_TO_NEW = ["0.9.0", "0.10.0-alpha", "0.10.0-rc.1", "0.10.0", "0.10.1", "1.0.0-rc1", "1.0.0", "1.0.0.1", "10.0"]


def test_of_several_versions_the_newest_is_taken_and_an_early_one_is_older_than_its_release(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(OLD_TO_NEW, len(OLD_TO_NEW))
    for count in range(1, len(OLD_TO_NEW) + 1):
        here = tmp_path / str(count)
        here.mkdir()
        config = with_models(here, *(version for version in shuffled if version in OLD_TO_NEW[:count]))
        assert choose_model(config).version == OLD_TO_NEW[count - 1]


def test_a_version_can_be_asked_for_by_name(tmp_path: Path) -> None:
    config = with_models(tmp_path, "0.9.0", "1.0.0")
    assert choose_model(config, "tiny-0.9.0").version == "0.9.0"
    assert choose_model(config, "volume3d").directory.parent == bundled_models_path()  # the shipped ones stay there


def test_a_model_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    config = with_models(tmp_path, "0.9.0")
    with pytest.raises(ModelError, match=r"no model 'tiny-0\.8'; installed: tiny-0\.9\.0, .*volume3d-.*`models\.path`"):
        choose_model(config, "tiny-0.8")
    with pytest.raises(ModelError, match="no model 'brain'"):
        choose_model(configured(tmp_path, '[models]\ndefault = "brain"\n'))


def test_a_configured_folder_comes_before_the_shipped_models(tmp_path: Path) -> None:
    shipped = choose_model(load_config(None, {}))
    own = tiny_model(tmp_path, (1, 1, 8, 8), name=shipped.name, version=shipped.version)
    config = configured(tmp_path, f'[models]\npath = ["{tmp_path}"]\n')
    assert choose_model(config).directory == own
    assert sum(model.name == shipped.name for model in installed_models(config)) == 1


def test_a_model_is_loaded_only_with_its_golden_answer_reproduced(tmp_path: Path) -> None:
    config = with_models(tmp_path, "1.0.0")
    assert load_model(config).identity.version == "1.0.0"
    directory = choose_model(config).directory
    content = bytearray((directory / "model.onnx").read_bytes())
    content[-1] ^= 1
    (directory / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="was altered"):
        load_model(config)


def test_an_unchanged_configuration_gives_the_policy_that_the_pure_core_has_by_default() -> None:
    made = pairing_policy(load_config(None, {}))
    assert dataclasses.replace(made, time_points=()) == PairingPolicy()
    names = [window.name for window in made.time_points]
    assert "24 h" in names and "1-2 h" not in names and "baseline" not in names


def test_the_sites_rules_reach_the_policy_in_its_own_units(tmp_path: Path) -> None:
    text = """
[pairing]
delayed_window = "3-5 h"
warn_tolerance_h = 0.25
partner_wait_hours = 2
incomplete_wait_minutes = 30
flip_angle_tolerance_deg = 1
[pairing.windows]
"3-5 h" = [3.5, 4.5]
"""
    policy = pairing_policy(configured(tmp_path, text))
    assert (policy.delayed.name, policy.delayed.earliest_h, policy.delayed.latest_h) == ("3-5 h", 3.5, 4.5)
    assert (policy.partner_wait.total_seconds(), policy.incomplete_wait.total_seconds()) == (7200, 1800)
    assert (policy.warn_tolerance_h, policy.flip_angle_tolerance_deg) == (0.25, 1.0)
    assert policy.time_point_of(1.5) == "1-2 h"


def test_destinations_outputs_and_our_own_side_are_as_configured(tmp_path: Path) -> None:
    text = """
[listener]
ae_title = "WARD3"
dimse_timeout_s = 7
[outputs]
mr_image = true
structured_report = "comprehensive"
encapsulated_pdf = true
study = "delayed"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "10.0.0.9"
port = 104
commitment = "required"
[[destinations]]
name = "far"
ae_title = "FAR"
host = "far.example"
port = 2762
tls = true
"""
    config = configured(tmp_path, text)
    assert (local_entity(config).ae_title, local_entity(config).dimse_timeout_s) == ("WARD3", 7.0)
    outputs = output_selection(config)
    assert (outputs.mr_image, outputs.structured_report, outputs.study) == (True, "comprehensive", "delayed")
    assert outputs.encapsulated_pdf
    (pacs, settings), (far, _) = peers(config).values()
    assert (pacs.name, pacs.ae_title, pacs.host, pacs.port, pacs.tls) == ("pacs", "PACS", "10.0.0.9", 104, None)
    assert settings.commitment == "required"
    assert far.tls is not None and far.tls.check_hostname


def test_a_trust_file_without_certificates_is_named(tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_text("no certificate\n")
    pacs = '[[destinations]]\nname = "p"\nae_title = "P"\nhost = "h"\nport = 1\ntls = true\n'
    with pytest.raises(ConfigError, match=r"tls\.trusted: found .*ca\.pem"):
        peers(configured(tmp_path, f'[tls]\ntrusted = "{trusted}"\n{pacs}'))


def test_a_font_for_the_page_is_read_and_decides_what_the_results_are(tmp_path: Path) -> None:
    path = tmp_path / "site.ttf"
    path.write_bytes(font_with("山田"))
    text = f'[outputs]\nencapsulated_pdf = true\npdf_font = "{path}"'
    assert page_font(configured(tmp_path, text)) == path.read_bytes()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert output_selection(configured(tmp_path, text)).pdf_font_sha256 == digest
    for without in ("", text.replace("true", "false")):
        assert page_font(configured(tmp_path, without)) is None
        assert output_selection(configured(tmp_path, without)).pdf_font_sha256 == ""
    path.write_text("no font")
    with pytest.raises(ConfigError, match=r"outputs\.pdf_font: .*site\.ttf is no font"):
        page_font(configured(tmp_path, text))
    with pytest.raises(ConfigError, match=r"outputs\.pdf_font: found .*gone\.ttf', not there"):
        configured(tmp_path, text.replace("site.ttf", "gone.ttf"))


def test_injection_times_come_from_the_table_or_there_are_none(tmp_path: Path) -> None:
    assert injection_times(None).table == {}
    path = tmp_path / "times.csv"
    path.write_text("patient_id;injection_time\nP1;2026-03-04T09:30\n")
    assert set(injection_times(path).table) == {"P1"}
    with pytest.raises(ConfigError, match="cannot be read"):
        injection_times(tmp_path)
