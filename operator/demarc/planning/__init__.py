"""Which Kubernetes objects does a valid resource need, and what do applied objects mean? Pure."""
