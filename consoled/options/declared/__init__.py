"""Every option, group by group."""
