"""``python -m deskline``."""

from deskline.cli import main

main()
