"""``python -m ratbond``."""

from ratbond.cli import main

main()
