"""What the machine can push through a tunnel, unshaped: ``make bench-throughput``; docs/performance.md has the figures.

``wires`` makes the hosts, ``tunnels`` starts the programs, ``load`` sends and counts what it costs, ``trial`` measures one
program once, ``many`` a server with many clients, and ``report`` writes the tables.
"""
