"""DICOM networking: the listener, sending, asking what arrived. The only importer of pynetdicom."""
