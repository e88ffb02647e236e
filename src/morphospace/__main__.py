"""``python -m morphospace`` is the `morphospace` command."""

from morphospace.cli import main

main()
