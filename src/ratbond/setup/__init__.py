"""The first set-up of an end: what is found on the machine, and the files that are written from the answers."""
