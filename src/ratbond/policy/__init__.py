"""How links are to be used, decided a few times a second: policies and quotas. Pure, but for the file that remembers what was used."""
