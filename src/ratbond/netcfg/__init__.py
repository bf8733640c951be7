"""What a tunnel needs of the system: a pure plan of addresses, routes, rules and sysctls; applied, journalled, undone."""
