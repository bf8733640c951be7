"""Bonding programs on the same emulated links, in one run: ``make bench``; docs/benchmarks.md says how to read it.

``catalogue`` has the scenarios, ``contenders`` starts the programs, ``trial`` measures one of them in one scenario with
one seed, ``results`` keeps what was measured as JSON, and ``report`` and ``plots`` make docs/benchmarks.md of that.
"""
