"""Runs a batch: in this process, or in worker processes whose death costs one case and not the batch."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from threading import Thread

from service.batch.cases import BatchCase, DicomCase, NiftiCase, RefusedCase
from service.batch.convert_case import BatchRequest, convert_case, finished_report, write_died, write_refused
from service.conversion import Converter
from service.report import Json

MakeConverter = Callable[[], Converter]
"""Called once in every process; must be picklable (a module's function, or a partial of one)."""
Convertible = DicomCase | NiftiCase

_made: Converter | Exception | None = None
_DIED = (
    "the worker process ended during this case, most likely for want of memory; "
    "convert it again with --jobs 1 on a machine with more"
)
_EXIT_ORPHAN = 1


def run_batch(
    cases: Sequence[BatchCase], request: BatchRequest, make_converter: MakeConverter, *, jobs: int = 1
) -> Iterator[tuple[BatchCase, Json, bool]]:
    """Convert every case; yields (case, report, whether it was there already) as they end.

    A case whose folder is up to date is not converted again, so a batch that was broken off goes on. Whoever stops
    iterating, or interrupts it, ends the workers with it.

    Raises
    ------
    Exception
        What `make_converter` raises, in whichever process; then no case can be converted.
    """
    waiting: list[Convertible] = []
    for case in cases:
        report = finished_report(case, request)
        if report is not None:
            yield case, report, True
        elif isinstance(case, RefusedCase):
            yield case, write_refused(case, request), False
        else:
            waiting.append(case)
    if jobs == 1 and waiting:
        converter = make_converter()
        for case in waiting:
            yield case, convert_case(case, request, converter), False
    elif waiting:
        yield from ((case, report, False) for case, report in _in_processes(waiting, request, make_converter, jobs))


def _in_processes(
    cases: Sequence[Convertible], request: BatchRequest, make_converter: MakeConverter, jobs: int
) -> Iterator[tuple[BatchCase, Json]]:
    suspects: list[Convertible] = []
    waiting = list(reversed(cases))
    while waiting:
        yield from _in_pool(waiting, request, make_converter, jobs, suspects)
    # One of these ended its worker, the others only shared the pool with it: each gets a worker of its own.
    for case in suspects:
        guilty: list[Convertible] = []
        yield from _in_pool([case], request, make_converter, 1, guilty)
        if guilty:
            yield case, write_died(case, request, _DIED)


def _in_pool(
    waiting: list[Convertible],
    request: BatchRequest,
    make_converter: MakeConverter,
    jobs: int,
    suspects: list[Convertible],
) -> Iterator[tuple[BatchCase, Json]]:
    """Take cases from the end of `waiting` until none is left or the pool breaks; then its cases are suspects."""
    # A fresh interpreter: a fork would share the threads' locks of numerical libraries.
    context = multiprocessing.get_context("spawn")
    running: dict[Future[Json], Convertible] = {}
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(make_converter,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running[pool.submit(_work, waiting[-1], request)] = waiting[-1]
                    waiting.pop()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                broken = [future for future in done if isinstance(future.exception(), BrokenProcessPool)]
                for future in done.difference(broken):
                    report = future.result()
                    yield running.pop(future), report
                if broken:
                    suspects += running.values()
                    return
        except BrokenProcessPool:  # from submit
            suspects += running.values()
        except BaseException:
            # Interrupted, given up, or without a converter: a running conversion is not waited for.
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def _start(make_converter: MakeConverter) -> None:
    """Make the worker's one converter; why there is none is told by its first case."""
    global _made  # noqa: PLW0603 - a worker process has one converter, made once
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the batch's process ends its workers
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        _made = make_converter()
    except Exception as fault:  # noqa: BLE001 - carried over to the batch's process, whatever it is
        _made = fault


def _end_with_parent() -> None:
    """A worker whose batch was killed would wait for work for ever, and write into a folder of the next run's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(_EXIT_ORPHAN)


def _work(case: Convertible, request: BatchRequest) -> Json:
    if isinstance(_made, Exception):
        raise _made
    if _made is None:
        raise RuntimeError("the worker was not started")
    return convert_case(case, request, _made)
