"""DICOM datasets <-> domain records, in memory: no sockets, no paths, no clock."""
