"""Prints every table; ``python -m tests.benchmarks [registration] [anatomy] [gate] ...`` picks some.

``python -m tests.benchmarks fuzz [COUNT] [SEED]`` sends hostile input instead, ``kills [COUNT] [SEED]`` kills the
service so often; their exit status is 1 after a crash or a loss.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks import anatomy, fuzz, gate, ingest, kills, largest, registration, stages

TABLES: dict[str, Callable[[], None]] = {
    "registration": registration.main,
    "anatomy": anatomy.main,
    "stages": stages.main,
    "largest": largest.main,
    "ingest": ingest.main,
    "gate": gate.main,
}


def main(names: list[str]) -> None:
    if names[:1] in (["fuzz"], ["kills"]):
        if len(names) > 3 or not all(number.isdecimal() for number in names[1:]):
            sys.exit(f"{names[0]} takes a count and a seed")
        trial = fuzz.main if names[0] == "fuzz" else kills.main
        sys.exit(1 if trial(*map(int, names[1:])) else 0)
    unknown = sorted(set(names) - set(TABLES))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(TABLES)}, fuzz, kills")
    for name in names or TABLES:
        TABLES[name]()
        print(flush=True)


if __name__ == "__main__":  # processes that are spawned import this again
    main(sys.argv[1:])
