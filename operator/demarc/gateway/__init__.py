"""What runs beside each Envoy? The decision service, the xDS files and the access-log tailer."""
