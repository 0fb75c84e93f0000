"""EDGE: DICOM networking; the only importer of pynetdicom."""
