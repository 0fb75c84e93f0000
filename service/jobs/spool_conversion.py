"""The conversion step on the spool: stored instances in, a directory of objects out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.cases import Case
from service.conversion import Conversion, Converter
from service.dicom.records import StoredInstance
from service.jobs.results import ConvertedPair, ResultObject
from service.pictures.browsing import encode_browsing
from service.received_pair import DicomPair
from service.result_files import BROWSING_NAME, write_conversion
from service.storage.spool import Spool


class SpoolConversion:
    """`service.jobs.steps.ConvertPair` with a real converter."""

    def __init__(self, spool: Spool, converter: Converter) -> None:
        self._spool = spool
        self._converter = converter

    def __call__(
        self, case: Case, baseline: Sequence[StoredInstance], delayed: Sequence[StoredInstance], directory: Path
    ) -> ConvertedPair:
        """Convert and write; the case's own opening time dates the objects, so that a repetition gives the same."""
        conversion = self._converter.convert_dicom(
            DicomPair(
                case_id=case.case_id,
                baseline=[self._spool.read(stored) for stored in baseline],
                delayed=[self._spool.read(stored) for stored in delayed],
                injection_time=case.injection_time,
                derived_at=case.created_at.astimezone(),  # DICOM dates are local
                replaces=case.replaces,
            )
        )
        self._write_browsing(conversion, directory)
        paths = write_conversion(conversion, directory)
        return ConvertedPair(
            outcome=conversion.outcome,
            reasons=(*conversion.reasons, *conversion.warnings),
            objects=tuple(
                ResultObject(sop_class_uid=file.sop_class_uid, sop_instance_uid=file.sop_instance_uid, path=path)
                for file, path in zip(conversion.files, paths, strict=True)
            ),
        )

    def _write_browsing(self, conversion: Conversion, directory: Path) -> None:
        if conversion.pictured is None:
            return
        packed = encode_browsing(
            conversion.pictured,
            simulated_patient=conversion.report["simulated_patient"],
            simulated_training=conversion.report["model"]["simulated_training"],
        )
        (directory / BROWSING_NAME).write_bytes(packed)
