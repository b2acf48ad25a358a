"""How are objects read and written in a Kubernetes API? The only package that talks to it."""
