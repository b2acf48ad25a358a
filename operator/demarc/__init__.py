"""Demarc: what must not leave does not leave."""
