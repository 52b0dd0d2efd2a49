"""Other cells of the deployment: what is not here is asked of their consoled."""
