"""``make demo``: two unequal WANs bonded on this machine, measured, pulled and plugged in again before one's eyes.

It runs ``ratbond server`` and ``ratbond client`` in a lab as a user would, and judges them from outside: rates come from
the emulator's counters and from iperf3, silence and loss from a probe of its own.
"""
