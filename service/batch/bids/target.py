"""Where a batch's dataset lies, which labels its cases have there, and how it names the datasets they come from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from service.batch.bids.labels import BidsLabels, label_cases, labels_in, parse_stem
from service.batch.cases import BatchCase, NiftiCase
from service.errors import UsageError
from service.report import Json

DESCRIPTION_NAME = "dataset_description.json"
REPORT_SUFFIX = "_report.json"
GENERATOR = "csf24"


@dataclass(frozen=True, slots=True, kw_only=True)
class BidsTarget:
    """The dataset of a batch.

    Attributes
    ----------
    root
        Its folder.
    labels
        By case id, for every case of the batch.
    links
        Datasets that images come from, as URIs relative to `root`, by the name that BIDS URIs have for them.
    """

    root: Path
    labels: Mapping[str, BidsLabels]
    links: Mapping[str, str]

    def source_of(self, path: Path) -> str:
        """A file that a case was made from: a BIDS URI, or, outside of BIDS datasets, a path relative to the root."""
        found = labels_in(path)
        if found is None:
            return _relative(path.parent, self.root) + f"/{quote(path.name)}"  # a link's name, not where it leads
        uri = _relative(found[0], self.root)
        name = next(name for name, link in self.links.items() if link == uri)
        return f"bids:{name}:{path.relative_to(found[0]).as_posix()}"


def plan_target(root: Path, cases: Sequence[BatchCase]) -> BidsTarget:
    """Give every case its place in the dataset; nothing is written.

    Raises
    ------
    UsageError
        The folder holds something else, or the cases cannot be told apart there.
    """
    description = _description_in(root)
    earlier = {report["case_id"]: labels for labels, report in case_reports(root)}
    return BidsTarget(
        root=root,
        labels=label_cases(cases, earlier),
        links=_links(description.get("DatasetLinks", {}), root, cases),
    )


def case_reports(root: Path) -> Iterator[tuple[BidsLabels, Json]]:
    """What the dataset holds, whichever run made it, ordered by its labels.

    Raises
    ------
    UsageError
        A report cannot be read.
    """
    found = [path for pattern in ("sub-*/*", "sub-*/ses-*/*") for path in root.glob(f"{pattern}{REPORT_SUFFIX}")]
    for path in sorted(found):
        labels = parse_stem(path.name.removesuffix(REPORT_SUFFIX))
        if labels is None or path.parent != root / labels.folder:
            continue  # not one of ours
        try:
            report: Json = json.loads(path.read_text(encoding="utf-8"))
            report["case_id"], report["outcome"], report["model"]["name"]
        except (OSError, ValueError, LookupError, TypeError) as fault:
            raise UsageError(
                f"{path}: not a readable report of csf24 ({type(fault).__name__}); remove it, and convert again"
            ) from fault
        yield labels, report


def _description_in(root: Path) -> Json:
    """Of the dataset that is there already; empty if there is none."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return {}
    try:
        found: Json = json.loads((root / DESCRIPTION_NAME).read_text(encoding="utf-8"))
        if any(made["Name"] == GENERATOR for made in found["GeneratedBy"]):
            return found
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise UsageError(f"--bids: {root} is there and is no dataset of csf24's; accepted: another folder (--out)")


def _links(earlier: Mapping[str, str], root: Path, cases: Sequence[BatchCase]) -> dict[str, str]:
    links = dict(earlier)  # what earlier runs wrote refers to them
    for case in cases:
        for path in (case.baseline.path, case.delayed.path) if isinstance(case, NiftiCase) else ():
            found = labels_in(path)
            uri = _relative(found[0], root) if found else ""
            if uri and uri not in links.values():
                links["source" if not links else f"source{len(links) + 1}"] = uri
    return links


def _relative(path: Path, root: Path) -> str:
    """As a URI reference; the absolute path would be this machine's, and is nobody else's business."""
    return quote(Path(os.path.relpath(path.resolve(), root.resolve())).as_posix())
