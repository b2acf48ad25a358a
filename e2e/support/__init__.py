"""What do the stories need? A Demarc that runs, clients, and the eyes of an outsider."""
