"""Names of what a batch writes beside the folders of its cases, so that no case may be called like one of them."""

SUMMARY_NAME = "summary.csv"
OVERVIEW_NAME = "overview.html"
BIDS_NAME = "bids"
RESERVED_NAMES = frozenset({SUMMARY_NAME, OVERVIEW_NAME, BIDS_NAME})
"""In lower case, as file systems that do not tell the cases of letters apart take them."""
