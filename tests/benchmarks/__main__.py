"""Prints every table; ``python -m tests.benchmarks [registration] [anatomy] [gate] ...`` picks some.

``python -m tests.benchmarks fuzz [COUNT] [SEED]`` sends hostile input instead, ``kills [COUNT] [SEED]`` kills the
service so often, ``memory [COUNT]`` watches its memory over so many instances; their exit status is 1 after a crash, a
loss or growth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks import anatomy, fuzz, gate, ingest, kills, largest, memory, registration, stages

TABLES: dict[str, Callable[[], None]] = {
    "registration": registration.main,
    "anatomy": anatomy.main,
    "stages": stages.main,
    "largest": largest.main,
    "ingest": ingest.main,
    "gate": gate.main,
}
TRIALS: dict[str, Callable[..., object]] = {"fuzz": fuzz.main, "kills": kills.main, "memory": memory.main}
"""Of a count and a seed; true means that something was wrong."""


def main(names: list[str]) -> None:
    if names and names[0] in TRIALS:
        if len(names) > 3 or not all(number.isdecimal() for number in names[1:]):
            sys.exit(f"{names[0]} takes a count and a seed")
        sys.exit(1 if TRIALS[names[0]](*map(int, names[1:])) else 0)
    unknown = sorted(set(names) - set(TABLES))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join((*TABLES, *TRIALS))}")
    for name in names or TABLES:
        TABLES[name]()
        print(flush=True)


if __name__ == "__main__":  # processes that are spawned import this again
    main(sys.argv[1:])
