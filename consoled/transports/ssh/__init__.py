"""Streams and shells over SSH, through any number of servers; usable without the daemon."""
