"""Sections of finished cases for the page: rendered on request, from few volumes kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from service.monitoring.snapshot import SectionRequest
from service.pictures.browsing import LAYERS, Contents, Layer, UInt8, read_contents, read_layer
from service.pictures.panels import SECTIONS
from service.pictures.sections import OVERLAYS, count_of, layer_png, overlay_png
from service.result_files import BROWSING_NAME

VOLUME_BYTES = 128 << 20
"""Of volumes: two cases of 240 mm cubes, so two people can leaf at a time."""
PICTURE_BYTES = 8 << 20

_Value = TypeVar("_Value")


class BoundedCache(Generic[_Value]):
    """Keeps what was asked for last, up to so many bytes; one thread makes a value, the others wait for it."""

    def __init__(self, most_bytes: int, size: Callable[[_Value], int]) -> None:
        self._most_bytes = most_bytes
        self._size = size
        self._kept: OrderedDict[Hashable, _Value] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return self._bytes

    def get(self, key: Hashable, make: Callable[[], _Value | None]) -> _Value | None:
        """The value under `key`, made if it is not there; what cannot be made (None) is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            made = make()
            if made is not None:
                self._kept[key] = made
                self._bytes += self._size(made)
                while self._bytes > self._most_bytes and len(self._kept) > 1:
                    _, oldest = self._kept.popitem(last=False)
                    self._bytes -= self._size(oldest)
            return made


class CasePictures:
    """Reads the browsing volumes beside results; a published result never changes, so its path is its key."""

    def __init__(self, *, volume_bytes: int = VOLUME_BYTES, picture_bytes: int = PICTURE_BYTES) -> None:
        self._volumes: BoundedCache[UInt8] = BoundedCache(volume_bytes, lambda values: values.nbytes)
        self._pictures: BoundedCache[bytes] = BoundedCache(picture_bytes, len)

    def contents(self, result: Path) -> Contents | None:
        """What can be leafed through in a result's directory; None when nothing can."""
        return read_contents(result / BROWSING_NAME)

    def section(self, result: Path, request: SectionRequest) -> bytes | None:
        """PNG; None when there is no such view, plane or section."""
        return self._pictures.get(
            (result, request.view, request.plane, request.index), lambda: self._draw(result, request)
        )

    def _draw(self, result: Path, request: SectionRequest) -> bytes | None:
        contents = self.contents(result)
        if contents is None or request.plane not in SECTIONS:
            return None
        plane = request.plane
        if not 0 <= request.index < count_of(plane, contents):
            return None
        if request.view in OVERLAYS:
            baseline, delayed = (self._layer(result, layer, contents) for layer in ("baseline", "delayed"))
            if baseline is None or delayed is None:
                return None
            return overlay_png((baseline, delayed), request.view, plane, request.index, contents)
        if request.view not in LAYERS:
            return None
        values = self._layer(result, request.view, contents)
        return None if values is None else layer_png(values, request.view, plane, request.index, contents)

    def _layer(self, result: Path, layer: Layer, contents: Contents) -> UInt8 | None:
        return self._volumes.get((result, layer), lambda: read_layer(result / BROWSING_NAME, layer, contents))
