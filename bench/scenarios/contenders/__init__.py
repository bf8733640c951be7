"""The programs that are measured; :data:`CONTENDERS` has them by name."""

from .base import Contender, Place, Tunnel
from .engarde import Engarde
from .glorytun import Glorytun
from .mlvpn import Mlvpn
from .ours import BestLink, Bond, Kcp
from .plain import Link
from .stock import Stock
from .wireguard import Wireguard, WireguardEcmp

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Bond("adaptive"),
        Bond("consistent"),
        Bond("roundrobin"),
        Kcp(),
        BestLink(),
        Link(),
        Stock(),
        Wireguard(),
        WireguardEcmp(),
        Glorytun(),
        Mlvpn(),
        Engarde(),
    )
}

__all__ = ["CONTENDERS", "Contender", "Place", "Tunnel"]
