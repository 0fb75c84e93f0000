"""Every acceptance limit, with what failing it does and why it stands where it stands.

'Calibrated' figures were measured on two real heads (a 3 T clinical T1 and a 27-fold averaged
T1), on procedural heads, and on both moved, re-scaled, shaded and made noisy by known amounts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``lowest <= figure <= highest`` passes.

    Attributes
    ----------
    message
        For the person who reads the refusal.
    why
        For the person who wants to change the number.
    """

    message: str
    why: str
    lowest: float = -math.inf
    highest: float = math.inf
    unit: str = ""
    action: Literal["REJECT", "WARN"] = "REJECT"

    @property
    def text(self) -> str:
        """The accepted range in words."""
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.highest):
            return f"at least {self.lowest:g}{unit}"
        if math.isinf(self.lowest):
            return f"at most {self.highest:g}{unit}"
        return f"{self.lowest:g} to {self.highest:g}{unit}"


LIMITS: dict[str, Limit] = {
    "NOT_FINITE": Limit(
        message="The series has undefined pixel values. Send the original, not a processed copy.",
        why="NaN spreads through every later step",
        lowest=1.0,
    ),
    "MATRIX_TOO_LARGE": Limit(
        message="The volume has more voxels than any clinical head series. Send the original, not an interpolated "
        "copy.",
        why="512 x 512 x 512 is the largest in use; twice that guards memory",
        highest=2.7e8,
        unit="voxels",
    ),
    "VOXELS_TOO_THICK": Limit(
        message="The series is not a 3D volume with thin slices; send the 3D T1 series.",
        why="fluid in cisterns and the fat behind the eye are 3-5 mm wide",
        highest=2.5,
        unit="mm",
    ),
    "FIELD_OF_VIEW_SHORT": Limit(
        message="The series does not cover the whole head. Send one from the vertex to the skull base.",
        why="an adult head is 140-165 mm wide at the temples; a brain 130-145 mm",
        lowest=140.0,
        unit="mm",
    ),
    "LOW_DYNAMIC_RANGE": Limit(
        message="The series has too few grey levels; send the original, not an 8-bit or thresholded copy.",
        why="a 12-bit head uses > 1000 levels, an 8-bit copy about 200, a mask 2",
        lowest=64,
        unit="grey levels",
    ),
    "SLICES_BLANK": Limit(
        message="Slices inside the volume are blank: they were lost on the way. Send the series again.",
        why="a measured slice always holds noise; masked copies are blank outside the head only",
        highest=0.0,
        unit="slices",
    ),
    "CONSTANT_IMAGE": Limit(
        message="The series shows nothing. Send the 3D T1 series.",
        why="1st and 99th percentile differ by > 0.9 in heads",
        lowest=0.3,
    ),
    "SIGNAL_CLIPPED": Limit(
        message="The brightest tissue is cut off at one value; send the original with its full range.",
        why="23 real heads 0-0.003, one windowed for display 0.047; fat clipped by us 0.08-0.11",
        highest=0.02,
        unit="of the bright voxels",
    ),
    "SAME_PIXELS": Limit(
        message="The two series hold the same pixels; send one scan from before the injection and one from after it.",
        why="a copy, scaled and rounded, > 0.9999; the same head unmoved, scanned twice, < 0.99",
        highest=0.999,
        unit="correlation of the noise",
    ),
    "BRAIN_VOLUME": Limit(
        message="No brain of plausible size was found in the baseline. Send the 3D T1 series of the whole head.",
        why="adult intracranial volume 1.0-1.9 L, outlined with 15 % error",
        lowest=0.8,
        highest=2.2,
        unit="L",
    ),
    "BRAIN_CUT": Limit(
        message="The brain is cut off by the edge of the baseline. Send a series of the whole head.",
        why="calibrated: whole heads < 0.01; a brain cut 10 mm below the vertex > 0.02",
        highest=0.015,
        unit="of the brain within 2 mm of the edge",
    ),
    "FLUID_NOT_DARK": Limit(
        message="The baseline has hardly any dark fluid: it already holds tracer, or is not T1-weighted. Choose an "
        "unenhanced baseline.",
        why="calibrated: 0.06-0.12 of the brain's hull is dark fluid in unenhanced T1",
        lowest=0.02,
        unit="of the brain's hull",
    ),
    "VENTRICLES_NOT_FOUND": Limit(
        message="The lateral ventricles were not outlined; reflux cannot be graded.",
        why="adults have 5-200 mL",
        lowest=2.0,
        unit="mL",
        action="WARN",
    ),
    "ORBITS_NOT_FOUND": Limit(
        message="Not both orbits were found; the signal reference rests on one side.",
        why="two sides check each other; none at all is refused by FAT_NOT_FOUND",
        lowest=2,
        unit="orbits",
        action="WARN",
    ),
    "WHITE_NOT_BRIGHT": Limit(
        message="White matter is not brighter than cortex: the series is not T1-weighted. Send the 3D T1 series.",
        why="20 real heads 1.13-1.40, drawn ones 1.05-1.31; real FLAIR, T2 and diffusion images 0.76-1.02",
        lowest=1.03,
        unit="x cortex",
    ),
    "FLUID_BRIGHT": Limit(
        message="The baseline has no dark fluid: it already holds tracer, or is not T1-weighted. Choose an "
        "unenhanced baseline.",
        why="21 real heads 0-0.48, drawn 0.23-0.38; 0.05 mM in all fluid 0.54-0.63, but in 3 of 6 heads < 0.52",
        highest=0.52,
        unit="x brain",
    ),
    "LOW_SNR": Limit(
        message="There is too much noise to measure tracer in; repeat the scan.",
        why="18 real heads 15-76; 20 % of noise added gives 4-5; tracer is a third of the brain's signal or less",
        lowest=8.0,
    ),
    "SPIKE_NOISE": Limit(
        message="Stripes run through the image (spike noise); have the scanner checked and repeat the scan.",
        why="20 real heads 2.1-4.2; stripes of 10 % of the brain's signal 32-50",
        highest=12.0,
        unit="x the spectrum around",
    ),
    "AIR_NOT_DARK": Limit(
        message="The air around the head shows ghosts: motion, pulsation or fold-over. Repeat the scan.",
        why="20 real heads 0-0.17; ghosts of 20 % give 0.39, motion by 4 mm and degrees 0.15",
        highest=0.25,
        unit="x brain",
    ),
    "BASE_CUT": Limit(
        message="The field of view ends above the skull base, where tracer arrives first. Send a series of the whole "
        "head.",
        why="20 real heads 73 and more; the cisterna magna lies 55-70 below the centre",
        lowest=60.0,
        unit="mm below the brain's centre",
    ),
    "HEAD_AT_EDGE": Limit(
        message="The head reaches the upper or rear edge of the field of view: it is cut off there, or folded over. "
        "Send a series with air above and behind the head.",
        why="14 real heads 0-6, scalp cut by a few mm 23-29; nose or neck folded over by 40 mm 129-247",
        highest=60.0,
        unit="cm2",
    ),
    "ROTATION_TOO_LARGE": Limit(
        message="The head is turned too far between the two series. Send another pair, or repeat the scan.",
        why="registration was validated to 20 degrees",
        highest=20.5,
        unit="degrees",
    ),
    "REGISTRATION_INCONSISTENT": Limit(
        message="Registration forwards and backwards disagree: two heads, motion, or strong distortion. "
        "Look at both series; send another if one is damaged.",
        why="same head <= 0.25 mm, drawn ones <= 0.6; 18 pairs of two heads 2.5 and more, a mirrored copy 0.8",
        highest=1.0,
        unit="mm",
    ),
    "REGISTRATION_AMBIGUOUS": Limit(
        message="Registration from two starts gives two answers: two heads, motion, or strong distortion. "
        "Look at both series; send another if one is damaged.",
        why="calibrated: same head <= 0.15 mm, drawn heads <= 0.5 mm",
        highest=1.0,
        unit="mm",
    ),
    "NOT_THE_SAME_HEAD": Limit(
        message="The two series do not show the same head, or one is mirrored. Make sure of the patient in both.",
        why="same real heads 0.99, drawn ones 0.83-0.95; mirrored copies 0.23-0.44, other heads lower",
        lowest=0.6,
        unit="local correlation",
    ),
    "STRUCTURE_DIFFERS": Limit(
        message="The fine structure of the two series differs: motion, stripes or distortion in one of them. Look at "
        "both and send a better one.",
        why="same head 0.82 and more, 0.94 with 8 % noise; motion by 4 mm and 4 degrees 0.69-0.77",
        lowest=0.78,
        unit="local correlation",
    ),
    "PART_DISPLACED": Limit(
        message="Part of the head does not lie where the rest of it does: it moved during one of the two scans, or "
        "slices were shifted. Look at both and send a better one.",
        why="sound pairs 0.00-0.02, with strong tracer too; part of the head 4-6 mm aside 0.17-0.5",
        highest=0.12,
        unit="of correlation gained by moving a slab",
    ),
    "SLICES_OUT_OF_PLACE": Limit(
        message="A slice of one of the two series does not continue those beside it: it was exchanged, or belongs "
        "elsewhere. Send the series again.",
        why="sound real pairs 1.2-1.5, drawn heads with a slice along their fissure up to 6.1; exchanged slices 25 mm "
        "apart 6.6-11, so that not all are found",
        highest=8.0,
        unit="x the difference of the slices beside it",
    ),
    "SHARPNESS_DIFFERS": Limit(
        message="One series is much more blurred than the other: motion, or another resolution. Send two of the same "
        "protocol.",
        why="sound pairs 0.8-1.1; one blurred by 2 mm 0.6-0.65, one with stripes 1.4",
        lowest=0.7,
        highest=1.4,
        unit="x the baseline",
    ),
    "DELAYED_COVERAGE": Limit(
        message="Part of the brain lies outside the delayed series. Send one that covers the whole head.",
        why="what is not seen cannot be predicted; 1 % allows for the outline's own error",
        lowest=0.99,
        unit="of the brain",
    ),
    "FAT_SMALL": Limit(
        message="Too little orbital fat was found for a stable reference. Send series with both orbits, not defaced.",
        why="calibrated: 330-1100 mm3 a side; 150 in one side still gives the median to 1 %",
        lowest=150,
        unit="mm3",
    ),
    "FAT_VARIABLE": Limit(
        message="The orbital fat is not uniform: motion, wrong tissue or shading. Look at the orbits in both "
        "series; repeat the scan.",
        why="calibrated: 0.04-0.08 in good scans; 0.15 as practised",
        highest=0.15,
    ),
    "FAT_ASYMMETRIC": Limit(
        message="Left and right orbital fat differ: shading or disease of an orbit. Look at the orbits in both "
        "series; repeat the scan.",
        why="calibrated: 0.04-0.06 unshaded, 0.11 with 15 % shading from side to side",
        highest=0.20,
        unit="of the median",
    ),
    "FAT_NOT_BRIGHT": Limit(
        message="The orbital fat is not as bright as fat is on T1: fat-suppressed or not T1-weighted. Send the 3D "
        "T1 series without fat suppression.",
        why="spoiled gradient echo theory 1.9-2.2 x brain; calibrated 1.45-1.9",
        lowest=1.15,
        highest=3.5,
        unit="x brain",
    ),
    "FAT_DRIFT": Limit(
        message="Orbital fat changed against brain between the two series; they were not acquired alike. Send two "
        "series of one scanner, coil and protocol.",
        why="white matter is unenhanced at 1-2 h, so the ratio stays; shading moves it by 0.1",
        lowest=0.8,
        highest=1.25,
    ),
    "WHITE_VARIABLE": Limit(
        message="White matter, by which the scans were to be normalised in place of fat, is not uniform: shading or "
        "motion. Send a series with a better homogeneity correction.",
        why="0.08-0.12 in real heads; beyond, the median depends on where it is taken",
        highest=0.20,
    ),
    "REFERENCE_IS_WHITE_MATTER": Limit(
        message="Normalised by white matter, since the orbital fat could not be used: the signal scale that the model "
        "was made for is met to about a quarter only. Judge the prediction with that in mind, or send a T1 "
        "series without fat suppression that includes both orbits.",
        why="marks every such result; allowed by normalisation.fallback only",
        highest=0.0,
        unit="faults of the orbital fat",
        action="WARN",
    ),
    "NO_TRACER": Limit(
        message="No tracer is seen in the basal fluid of the delayed series: injection failed, or the wrong "
        "series. Check the injection and the series.",
        why="calibrated: without tracer at most 0.03 (25 % shading, neck bent by 10 degrees), sound pairs from 0.05, "
        "also with 0.06 mM in 5 mL around the lower stem alone; 0.04 is less than 0.02 mM",
        lowest=0.04,
        unit="fat units net of what darkened",
    ),
    "TRACER_IN_NOISE": Limit(
        message="What brightens in the basal fluid does not stand out of the noise: injection failed, or the wrong "
        "series. Check the injection and the series.",
        why="sound pairs 13-46, the weakest simulated patient 4.2; without tracer 0.2-0.9",
        lowest=3.0,
        unit="standard deviations",
    ),
    "VESSELS_ENHANCED": Limit(
        message="The sagittal sinus brightens more than the basal fluid: contrast agent was given by vein. Send a "
        "scan after intrathecal contrast only.",
        why="sound pairs < 0; blood enhanced by half the fat signal rises more than fluid without tracer",
        highest=0.1,
        unit="fat units",
    ),
    "TRACER_EXCESSIVE": Limit(
        message="The basal fluid is brighter than tracer can make it: wrong series, or another agent or dose. "
        "Check the injection and the series.",
        why="5 mM reaches 1.9; a simulated patient has 1.36 where tracer enters at the foramen magnum",
        highest=1.9,
        unit="fat units",
    ),
    "ORDER_SWAPPED": Limit(
        message="The basal fluid is darker in the delayed series: the two series are swapped, or baseline held "
        "tracer. Exchange them, or choose an unenhanced baseline.",
        why="as NO_TRACER, the other way round; swapped pairs have 0.08 and more",
        highest=0.04,
        unit="fat units net of what brightened",
    ),
    "INPUT_UNUSUAL": Limit(
        message="The scans are unlike those that the model was made from: contrast, dose or kind of head. Use a model "
        "that was made from such scans.",
        why="each model's own limit, from the patients that validated it; a model may state none",
        highest=1.0,
        unit="of the model's limit",
    ),
    "PREDICTION_NOT_FINITE": Limit(
        message="The model's answer has undefined values. Keep the case and tell whoever looks after csf24.",
        why="nothing may be filed",
        lowest=1.0,
    ),
    "PREDICTION_TOO_BRIGHT": Limit(
        message="The predicted increase is larger than tracer can cause. Keep the case and tell whoever looks "
        "after csf24.",
        why="2 mM gives +1.34 fat units, 24 h values are < 0.3 mM",
        highest=1.6,
        unit="fat units",
    ),
    "PREDICTION_DARKENS": Limit(
        message="The model predicts that tracer darkens the image. Keep the case and tell whoever looks after csf24.",
        why="tracer brightens T1 at these concentrations",
        lowest=-0.5,
        unit="fat units",
    ),
    "INTERVAL_CROSSED": Limit(
        message="The predicted increase lies outside its own interval. Keep the case and tell whoever looks after "
        "csf24.",
        why="an interval that does not hold its middle says nothing; 0.1 % allows for rounding",
        highest=0.001,
        unit="of the voxels",
    ),
    "PREDICTION_OUTSIDE_HEAD": Limit(
        message="The model predicts tracer outside the head. Keep the case and tell whoever looks after csf24.",
        why="air cannot enhance",
        highest=0.1,
        unit="fat units",
    ),
}
