"""NO PREDICTION, as a page in the patient's study: why, what was measured, the limit, and the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from service.dicom import coding
from service.dicom.derived_common import LIMITS_OF_USE, header, identify, instance_item, replaced
from service.dicom.facts import DerivationFacts
from service.dicom.header_values import integer
from service.dicom.identity import derived_uid
from service.dicom.inherited import ascii_text, put
from service.dicom.secondary_capture import set_capture
from service.errors import Reason

ROLE = "refusal-notice"

_WIDTH = 1000
_MARGIN = 28
_INK, _PAPER, _ALARM = (235, 238, 242), (0, 0, 0), (255, 170, 60)
_SIZE, _TITLE_SIZE, _LINE = 20, 46, 28
_LO_LENGTH, _ST_LENGTH, _LT_LENGTH = 64, 1024, 10240

RGB = NDArray[np.uint8]
Line = tuple[str, tuple[int, int, int]]


def derive_refusal(
    template: Dataset,
    reasons: Sequence[Reason],
    facts: DerivationFacts,
    *,
    source_series_uids: tuple[str, ...],
    source_instances: Sequence[tuple[str, str]],
    picture: RGB | None,
) -> tuple[Dataset, ...]:
    """One colour Secondary Capture: a page to read where the prediction would have been.

    Parameters
    ----------
    template
        Any header of the study in which the notice is filed.
    source_series_uids
        Baseline, delayed.
    source_instances
        (SOP Class UID, SOP Instance UID) of what was received; may be empty.
    picture
        ``(rows, columns, 3)``, shown below the text, scaled to the page.

    Raises
    ------
    ValueError
        Without a reason there is nothing to say.
    InputRefused
        STUDY_UID_MISSING: the study to file in has no UID.
    """
    if not reasons:
        raise ValueError("a refusal needs at least one reason")
    uids = (*source_series_uids, "", "")[:2]
    notice = header(
        template,
        facts,
        series_uid=derived_uid(facts, *uids, ROLE),
        role=ROLE,
        source_number=integer(template, "SeriesNumber"),
    )
    identify(notice, SecondaryCaptureImageStorage, derived_uid(facts, *uids, ROLE, "1"), 1)
    codes = ", ".join(dict.fromkeys(reason.code for reason in reasons))
    put(notice, "SeriesDescription", f"NO PREDICTION (csf24): {codes}"[:_LO_LENGTH])
    put(notice, "ImageComments", (_as_text(reasons) + replaced(facts))[:_LT_LENGTH])
    made = f"NO PREDICTION was made, case {facts.case_id}: {codes}.{replaced(facts)}"
    put(notice, "DerivationDescription", made[:_ST_LENGTH])
    notice.Modality = "OT"
    notice.ImageType = ["DERIVED", "SECONDARY", "OTHER", "NO_PREDICTION"]
    notice.SyntheticData = "YES"  # a drawn page; must never be taken for an image of the patient
    notice.BurnedInAnnotation = "YES"
    notice.PatientOrientation = ""
    put(notice, "LossyImageCompression", "00")
    if source_instances:
        notice.SourceImageSequence = [_source(*instance) for instance in source_instances]
    set_capture(notice)
    _set_page(notice, draw_page(reasons, facts, picture))
    return (notice,)


def draw_page(reasons: Sequence[Reason], facts: DerivationFacts, picture: RGB | None) -> RGB:
    """``(rows, 1000, 3)``: white on black; no patient data."""
    lines = _lines(reasons, facts)
    shown = None if picture is None else _fitted(picture)
    top = _MARGIN + _TITLE_SIZE + _LINE
    text_end = top + _LINE * len(lines) + _MARGIN
    page = Image.new("RGB", (_WIDTH, text_end + (shown.height + _MARGIN if shown else 0)), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN), "NO PREDICTION", font=ImageFont.load_default(_TITLE_SIZE), fill=_ALARM)
    font = ImageFont.load_default(_SIZE)
    for number, (text, ink) in enumerate(lines):
        draw.text((_MARGIN, top + number * _LINE), text, font=font, fill=ink)
    if shown:
        page.paste(shown, ((_WIDTH - shown.width) // 2, text_end))
    return np.asarray(page)


def _lines(reasons: Sequence[Reason], facts: DerivationFacts) -> list[Line]:
    model = facts.model
    lines: list[Line] = [
        (f"The 24 h image of case {facts.case_id} was not predicted, because a check failed.", _INK),
        ("", _INK),
    ]
    for reason in reasons:
        lines.append((reason.code, _ALARM))
        lines += [(line, _INK) for line in _wrapped(reason.message)]
        if reason.measured is not None or reason.limit is not None:
            lines += [(line, _INK) for line in _wrapped(_figures(reason))]
        lines.append(("", _INK))
    foot = f"csf24 {facts.software_version}, model {model.name} {model.version}. {LIMITS_OF_USE}"
    return [*lines, *((line, _INK) for line in _wrapped(foot))]


def _wrapped(text: str) -> list[str]:
    """Lines of `text` that fit the page."""
    font = ImageFont.load_default(_SIZE)
    lines = [""]
    for word in ascii_text(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= _WIDTH - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _figures(reason: Reason) -> str:
    measured = "not measurable" if reason.measured is None else _figure(reason.measured)
    return f"Measured: {measured}.  Limit: {'-' if reason.limit is None else _figure(reason.limit)}."


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _as_text(reasons: Sequence[Reason]) -> str:
    parts = (f"{r.code}: {r.message} {_figures(r) if r.measured is not None else ''}".strip() for r in reasons)
    return ascii_text("NO PREDICTION. " + " ".join(parts))


def _fitted(picture: RGB) -> Image.Image:
    image = Image.fromarray(picture)
    scale = (_WIDTH - 2 * _MARGIN) / image.width
    return image.resize((round(image.width * scale), max(1, round(image.height * scale))))


def _set_page(dataset: Dataset, page: RGB) -> None:
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = page.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    pixels = page.tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"


def _source(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = instance_item(sop_class_uid, sop_instance_uid)
    item.PurposeOfReferenceCodeSequence = [coding.code_item(coding.SOURCE_IMAGE)]
    return item
