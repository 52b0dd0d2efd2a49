"""Transports: how bytes reach a console."""
