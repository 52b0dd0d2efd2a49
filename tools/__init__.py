"""What developers run: set-up, the demo and the lab; none of it is in the wheel."""
