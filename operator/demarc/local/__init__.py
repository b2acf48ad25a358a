"""How do planned pods run on one machine? The only package that starts processes."""
