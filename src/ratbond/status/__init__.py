"""What a tunnel is doing, for people and programs: the model, its text, and the HTTP server that shows both."""
