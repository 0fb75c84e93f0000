"""What a pair must look like: windows, tolerances and waiting times, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursWindow:
    """Hours after the injection; the earliest is inside, the latest is not.

    Attributes
    ----------
    name
        As in the configuration, e.g. ``"1-2 h"``.
    """

    name: str
    earliest_h: float
    latest_h: float

    def contains(self, hours: float, tolerance_h: float = 0.0) -> bool:
        """Whether a time lies in the window widened by `tolerance_h` at both ends."""
        return self.earliest_h - tolerance_h <= hours < self.latest_h + tolerance_h

    @property
    def text(self) -> str:
        """The window in words."""
        if self.latest_h <= 0:
            return f"{self.earliest_h:g} to {self.latest_h:g} h after the injection"
        return f"{self.earliest_h:g} to less than {self.latest_h:g} h after the injection"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingPolicy:
    """The site's rules for pairs; the defaults are the configuration's.

    Attributes
    ----------
    delayed, baseline
        When the two series must have been acquired.
    follow_up
        When a scan must have been acquired that a prediction is held against; None = none is looked for.
    time_points
        The protocol's other time points; they only give names to what was found outside `delayed`.
    warn_tolerance_h
        How far outside `delayed` a series is still taken, with a warning.
    repetition_time_tolerance, echo_time_tolerance, spacing_tolerance
        Largest relative difference between the two series of a pair.
    flip_angle_tolerance_deg
        Largest difference in degrees.
    partner_wait
        How long a series waits for the other one of its pair.
    incomplete_wait
        How long missing slices are waited for.
    washout_h
        For so long after an injection a scan still holds tracer and is no baseline; the founding paper's
        29-day control, at which it was gone, is the first that may be one.
    """

    delayed: HoursWindow = HoursWindow(name="1-2 h", earliest_h=1.0, latest_h=2.0)
    baseline: HoursWindow = HoursWindow(name="baseline", earliest_h=-720.0, latest_h=0.0)
    follow_up: HoursWindow | None = HoursWindow(name="24 h", earliest_h=20.0, latest_h=28.0)
    time_points: tuple[HoursWindow, ...] = ()
    warn_tolerance_h: float = 0.0
    repetition_time_tolerance: float = 0.10
    echo_time_tolerance: float = 0.15
    flip_angle_tolerance_deg: float = 2.0
    spacing_tolerance: float = 0.25
    partner_wait: timedelta = timedelta(hours=48)
    incomplete_wait: timedelta = timedelta(minutes=60)
    washout_h: float = 648.0

    def time_point_of(self, hours: float) -> str:
        """Name of the first time point that holds `hours`, or empty."""
        windows = (self.delayed, *self.time_points)
        return next((window.name for window in windows if window.contains(hours)), "")
