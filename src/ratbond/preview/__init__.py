"""What an end of a tunnel would change on this machine, told before it does."""
