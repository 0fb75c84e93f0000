from __future__ import annotations

import pytest

from service.monitoring.browse import browse
from service.monitoring.snapshot import BrowsingView, PlaneView

CASE = "c000000000007"
VIEW = BrowsingView(
    layers=("baseline", "delayed"),
    planes=tuple(
        PlaneView(name=name, count=count, middle=count // 2, width=200, height=240)
        for name, count in (("sagittal", 180), ("axial", 200), ("coronal", 220))
    ),
    registered=True,
)


def test_without_a_query_the_middle_of_the_brain_is_shown() -> None:
    shown = browse(CASE, VIEW, {})

    assert [row.index for row in shown.rows] == [90, 100, 110]
    assert [picture.source for picture in shown.rows[1].pictures] == [
        f"/cases/{CASE}/sections/{view}/axial/100.png" for view in ("baseline", "delayed", "checkerboard")
    ]


def test_the_links_keep_the_other_planes_and_the_overlay() -> None:
    shown = browse(CASE, VIEW, {"axial": "42", "overlay": "edges"})

    (_, one_on) = [*shown.rows[1].on][::-1]
    assert one_on.target == f"/cases/{CASE}?sagittal=90&axial=43&coronal=110&overlay=edges#axial-row"
    assert shown.rows[0].pictures[-1].source == f"/cases/{CASE}/sections/edges/sagittal/90.png"


def test_at_the_end_of_the_stack_there_is_nothing_to_step_to() -> None:
    shown = browse(CASE, VIEW, {"axial": "199", "sagittal": "0", "coronal": "5"})

    assert [step.target for step in shown.rows[1].on] == [None, None]
    assert [step.target for step in shown.rows[0].back] == [None, None]
    assert "coronal=0" in str(shown.rows[2].back[0].target)  # ten back would be before the first


@pytest.mark.parametrize("text", ["", "-1", "x", "1e3", "٣", "99999999999", "1 OR 1"])
def test_a_query_that_makes_no_sense_shows_the_middle(text: str) -> None:
    shown = browse(CASE, VIEW, {"axial": text, "overlay": "<script>"})

    assert shown.rows[1].index == 100
    assert shown.overlay == "checkerboard"


def test_a_number_beyond_the_stack_shows_its_end() -> None:
    assert browse(CASE, VIEW, {"axial": "9999"}).rows[1].index == 199
