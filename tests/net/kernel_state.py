"""All of a namespace that ratbond may change, as text to compare."""

from __future__ import annotations

from ratbond.lab import Host

_LOOK = """
ip rule; ip -6 rule
ip -4 route show table all; ip -6 route show table all | grep -Ev 'fe80|multicast'
ip -br address | sed -E 's/ fe80[^ ]*//; s/(UNKNOWN|DOWN) +/? /'; ip -br link show type tun | cut -d' ' -f1
nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//'
sysctl -a 2>/dev/null | grep -E '[.]rp_filter|[.]ip_forward |[.]forwarding|[.]accept_ra '
"""


def state(host: Host) -> str:
    """Rules, routes of all tables, addresses, tun devices, nftables, sysctls; not what the kernel finds out by itself."""
    return host.run("sh", "-c", _LOOK).stdout.replace(" linkdown", "")
