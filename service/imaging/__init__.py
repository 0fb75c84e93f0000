"""Pure imaging core: numpy + SimpleITK, no DICOM, no files, no clock, no sockets.

Everywhere: world coordinates are LPS millimetres, arrays are indexed ``array[k, j, i]``,
and transforms map fixed -> moving points.
"""
