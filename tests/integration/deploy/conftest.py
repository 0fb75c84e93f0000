"""Building the image takes minutes and podman; ``make container-test`` asks for it by name, ``make test`` does not."""

from __future__ import annotations

import os

from tests.builders.containers import WANTED

collect_ignore = [] if os.environ.get(WANTED) else ["test_container.py"]
