"""csf24 service: predicts the 24 h intrathecal-contrast MRI and files it in PACS."""

__version__ = "0.1.0"
