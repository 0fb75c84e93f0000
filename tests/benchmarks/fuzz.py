"""Hostile input in any number; ``python -m tests.benchmarks fuzz [COUNT] [SEED]``.

Of COUNT inputs one in twenty is a conversation with a listener that has a real spool and ledger behind it, the others
are files for the code that reads them. An input can be had again: ``hostile_file(NUMBER, SEED)`` and
``hostile_conversation(NUMBER, SEED)`` in tests.builders.hostile.
"""

from __future__ import annotations

import logging
import time
import warnings

import structlog

from tests.builders.fuzzing import Findings, fuzz_files, fuzz_listener

COUNT, SEED = 20_000, 1


def main(count: int = COUNT, seed: int = SEED) -> int:
    """Number of crashes."""
    # What is refused is logged, each time.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    warnings.simplefilter("ignore")
    conversations = max(1, count // 20)
    crashes = 0
    for name, run, number in (
        ("Files read", fuzz_files, count - conversations),
        ("Conversations with the listener", fuzz_listener, conversations),
    ):
        began = time.perf_counter()
        found = run(number, seed)
        _print(name, number, time.perf_counter() - began, found)
        crashes += len(found.crashes)
    return crashes


def _print(name: str, number: int, seconds: float, found: Findings) -> None:
    print(f"{name}: {number} in {seconds:.0f} s ({number / seconds:.0f}/s), {len(found.crashes)} crashes\n")
    for outcome, times in found.outcomes.most_common():
        print(f"  {outcome:50} {times:8}")
    print(f"  {'slowest':50} {found.slowest_s:8.2f} s, number {found.slowest}")
    print(f"  before: {found.before}; after: {found.after}; peak {found.peak_mb:.0f} MB")
    for place, what in found.crashes[:20]:
        print(f"  CRASH number {place}: {what}")
    print(flush=True)
