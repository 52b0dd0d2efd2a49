"""Recordings of sessions: asciicast v3 files with a hash chain, their writer and their keeper."""
