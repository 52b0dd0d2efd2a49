"""Ways to compute hosts and instances that face no network: node groups, and routes over them."""
