"""How do people and the command line look inside? The administration HTTP API."""
