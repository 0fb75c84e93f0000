"""Prints every table; ``python -m tests.benchmarks [registration] [stages] [ingest] [gate]`` picks some."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks import gate, ingest, registration, stages

TABLES: dict[str, Callable[[], None]] = {
    "registration": registration.main,
    "stages": stages.main,
    "ingest": ingest.main,
    "gate": gate.main,
}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(TABLES))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(TABLES)}")
    for name in names or TABLES:
        TABLES[name]()
        print(flush=True)


main(sys.argv[1:])
