"""consoled: the serial consoles of virtual machines, one Twisted daemon per cell."""

__version__ = "0.1.0"
