"""What the official validator says of a BIDS dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ALLOWED = {
    ("TOO_FEW_AUTHORS", None),  # who they are is the group's to say
    (
        "SIDECAR_KEY_RECOMMENDED",
        "Description",
    ),  # of tables; those of images have it, or the test that looks there fails
}


def violations(dataset: Path) -> list[tuple[str, str, str]]:
    """Errors, and warnings but for `ALLOWED`: (severity, code with what it is about, file)."""
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run(
        [str(validator), str(dataset), "--format", "json"], capture_output=True, text=True, check=False, timeout=120
    )
    answer = json.loads(done.stdout)
    assert answer["summary"]["dataProcessed"], done.stderr
    return [
        (issue["severity"], f"{issue['code']} {issue.get('subCode', '')}".strip(), issue["location"])
        for issue in answer["issues"]["issues"]
        if issue["severity"] != "ignore" and (issue["code"], issue.get("subCode")) not in ALLOWED
    ]
