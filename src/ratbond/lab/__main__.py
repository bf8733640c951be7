"""``python -m ratbond.lab``."""

from ratbond.lab.cli import main

main()
