"""Runs a batch: in this process, or in worker processes whose death costs one case and not the batch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from service.batch.cases import BatchCase
from service.batch.convert_case import BatchRequest, convert_case, finished_report, write_failed_case
from service.conversion import Converter
from service.report import Json

MakeConverter = Callable[[], Converter]
"""Called once in every process; must be picklable (a module's function, or a partial of one)."""

_converter: Converter | None = None
_DIED = (
    "the worker process ended during this case, most likely for want of memory; "
    "convert it again with --jobs 1 on a machine with more"
)


def run_batch(
    cases: Sequence[BatchCase], request: BatchRequest, make_converter: MakeConverter, *, jobs: int = 1
) -> Iterator[tuple[BatchCase, Json, bool]]:
    """Convert every case; yields (case, report, whether it was there already) as they end.

    A case whose folder is up to date is not converted again, so a batch that was broken off goes on.
    """
    open_cases = []
    for case in cases:
        report = finished_report(case, request)
        if report is not None:
            yield case, report, True
        else:
            open_cases.append(case)
    if not open_cases:
        return
    if jobs == 1:
        converter = make_converter()
        for case in open_cases:
            yield case, convert_case(case, request, converter), False
        return
    suspects: list[BatchCase] = []
    waiting = list(reversed(open_cases))
    while waiting:
        for case, report in _in_pool(waiting, request, make_converter, jobs, suspects):
            yield case, report, False
    # One of these ended its worker, the others only shared the pool with it: each gets a worker of its own.
    for case in suspects:
        alone: list[BatchCase] = []
        for _, report in _in_pool([case], request, make_converter, 1, alone):
            yield case, report, False
        if alone:
            yield case, write_failed_case(case, request, "WORKER_DIED", _DIED), False


def _in_pool(
    waiting: list[BatchCase],
    request: BatchRequest,
    make_converter: MakeConverter,
    jobs: int,
    suspects: list[BatchCase],
) -> Iterator[tuple[BatchCase, Json]]:
    """Take cases from the end of `waiting` until none is left or the pool breaks; then its cases are suspects."""
    # A fresh interpreter: a fork would share the threads' locks of numerical libraries.
    context = multiprocessing.get_context("spawn")
    running: dict[Future[Json], BatchCase] = {}
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(make_converter,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running[pool.submit(_work, waiting[-1], request)] = waiting[-1]
                    waiting.pop()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    report = future.result()
                    yield running.pop(future), report
        except BrokenProcessPool:
            suspects += running.values()


def _start(make_converter: MakeConverter) -> None:
    global _converter  # noqa: PLW0603 - a worker process has one converter, made once
    _converter = make_converter()


def _work(case: BatchCase, request: BatchRequest) -> Json:
    if _converter is None:
        raise RuntimeError("the worker was not started")
    return convert_case(case, request, _converter)
