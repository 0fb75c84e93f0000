"""The gate as a whole: one sound pair through every check, and the table of limits."""

from service.imaging import quality, quality_pair, quality_scan, quality_tracer
from service.imaging.normalisation import measure_orbital_fat
from service.imaging.quality_limits import LIMITS
from tests.builders.quality import sound_registration
from tests.unit.imaging.conftest import MOVED


def test_every_limit_says_why_and_what_to_tell_the_user():
    for code, limit in LIMITS.items():
        assert code == code.upper()
        assert limit.message.endswith(".")
        assert limit.why != "calibrated"
        assert len(limit.why) > 12
        assert limit.text


def test_a_figure_that_could_not_be_measured_fails():
    assert not quality.judge("NO_TRACER", float("nan")).passed


def test_the_message_says_which_series():
    assert quality.judge("LOW_SNR", 1.0, "delayed").message.startswith("Delayed: ")


def test_a_sound_pair_passes_everything(baseline, delayed, anatomy, fat, pair):
    fat_delayed = measure_orbital_fat(delayed, anatomy, MOVED)
    report = (
        quality_scan.check_volume(baseline)
        + quality_scan.check_volume(delayed)
        + quality_pair.check_two_scans(baseline, delayed)
        + quality_scan.check_anatomy(baseline, anatomy)
        + quality_scan.check_contrast(pair.before, anatomy)
        + quality_scan.check_scan(baseline, pair.before, anatomy, series="baseline")
        + quality_scan.check_scan(delayed, pair.after, anatomy, transform=MOVED, series="delayed")
        + quality_pair.check_registration(sound_registration(MOVED), pair, anatomy, baseline=baseline, delayed=delayed)
        + quality_pair.check_normalisation(pair, anatomy, fat_baseline=fat, fat_delayed=fat_delayed)
        + quality_tracer.check_tracer(pair, anatomy, fat_baseline=fat.median, fat_delayed=fat_delayed.median)
    )
    assert report.rejections == ()
    assert report.warnings == ()
