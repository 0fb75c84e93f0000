"""``python -m service`` is ``csf24``."""

from service.cli import main

main()
