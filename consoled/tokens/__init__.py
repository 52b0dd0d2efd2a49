"""Token authorities: they issue and check the right to open a console."""
