"""The REST API: nova-compatible routes and consoled's own."""
