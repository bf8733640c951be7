"""A bond over simulated links in virtual time: for studies, plots, tests, and a link mix before it is bought.

The ends are the engine's own protocol core; docs/simulator.md shows how it is used::

    from ratbond.sim import Link, Simulation

    simulation = Simulation([Link("80mbit,16ms"), Link("30mbit,60ms,0.5%")])
    download = simulation.download(flows=6)
    simulation.at(10, lambda bond: bond.pull(0))
    result = simulation.run(20)
    print(result.load(download).goodput_bps)
"""

from ratbond.sim.result import Datagram, LinkResult, LoadResult, Result
from ratbond.sim.simulation import Bond, Congestion, Link, Simulation

__all__ = ["Bond", "Congestion", "Datagram", "Link", "LinkResult", "LoadResult", "Result", "Simulation"]
