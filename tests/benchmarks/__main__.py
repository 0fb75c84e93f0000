"""Prints every table; ``python -m tests.benchmarks [registration] [anatomy] [gate] ...`` picks some.

``python -m tests.benchmarks fuzz [COUNT] [SEED]`` sends hostile input instead; its exit status is 1 after a crash.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks import anatomy, fuzz, gate, ingest, largest, registration, stages

TABLES: dict[str, Callable[[], None]] = {
    "registration": registration.main,
    "anatomy": anatomy.main,
    "stages": stages.main,
    "largest": largest.main,
    "ingest": ingest.main,
    "gate": gate.main,
}


def main(names: list[str]) -> None:
    if names[:1] == ["fuzz"]:
        if len(names) > 3 or not all(number.isdecimal() for number in names[1:]):
            sys.exit("fuzz takes a count and a seed")
        sys.exit(1 if fuzz.main(*map(int, names[1:])) else 0)
    unknown = sorted(set(names) - set(TABLES))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(TABLES)}, fuzz")
    for name in names or TABLES:
        TABLES[name]()
        print(flush=True)


if __name__ == "__main__":  # processes that are spawned import this again
    main(sys.argv[1:])
