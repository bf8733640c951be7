"""A server's named clients: the file they stand in, and the commands that change it."""
