"""What a monitoring system asks of the daemon: figures for Prometheus, and its health."""
