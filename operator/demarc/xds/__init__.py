"""What must Envoy be told so that it does what the epoch says? Pure."""
