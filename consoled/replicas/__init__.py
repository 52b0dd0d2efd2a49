"""One viewer, two replicas: any replica serves a viewer of a console that another one holds."""
