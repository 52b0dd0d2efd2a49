"""Live migrations: what is planned, how far it is, and who sees it through."""
