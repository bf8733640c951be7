"""``ratbond top``: the bond in a terminal, live. It follows the same stream as the dashboard (docs/status.md)."""
