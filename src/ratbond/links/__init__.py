"""What is a WAN link: the kernel's picture of interfaces, addresses and routes, and the choice made from it."""
