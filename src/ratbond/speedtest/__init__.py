"""``ratbond speedtest``: how fast each link is alone and all of them together, measured through the tunnel (docs/speedtest.md)."""
