"""`ratbond doctor`: looks at what a tunnel needs and says what is missing, with the fix to type."""
