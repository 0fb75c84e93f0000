"""Keeps the library's reactor off the answers that someone waits for."""

from __future__ import annotations

from threading import Condition, current_thread

from pynetdicom.association import Association

_LOOK_AGAIN_S = 0.05


def guard(assoc: Association) -> None:
    """Give an association, before its thread starts, a checkpoint that holds.

    To send a request, the library asks the association's reactor to pause and goes on once that has said so. But
    it says so each time just before it looks whether it is to pause: one that was let through at that moment takes
    the answer from the queue, drops it as unexpected, and the sender waits until the DIMSE timeout. On a busy
    machine that was one C-STORE in 1600.
    """
    assoc._reactor_checkpoint = _Checkpoint(assoc)


class _Checkpoint:
    """Stands in for the `threading.Event` of the association; `clear` returns once the reactor really waits."""

    def __init__(self, assoc: Association) -> None:
        self._assoc = assoc
        self._changed = Condition()
        self._is_open = True
        self._holds_reactor = False

    def set(self) -> None:
        """Let the reactor run."""
        with self._changed:
            self._is_open = True
            self._holds_reactor = False
            self._changed.notify_all()

    def clear(self) -> None:
        """Pause the reactor."""
        with self._changed:
            self._is_open = False
            while not self._holds_reactor and self._assoc.is_alive() and self._assoc is not current_thread():
                self._changed.wait(_LOOK_AGAIN_S)

    def wait(self) -> None:
        """Called by the reactor in each round."""
        with self._changed:
            while not self._is_open:
                self._holds_reactor = True
                # The thread that answers an N-EVENT-REPORT takes this back, and `release` would wait for it forever.
                self._assoc._is_paused = True
                self._changed.notify_all()
                self._changed.wait(_LOOK_AGAIN_S)
            self._holds_reactor = False
