"""Drivers: where instances and their consoles come from."""
