"""Puts one cell together: the one package that knows every class.

============== ==================================================================
module         what it puts together
============== ==================================================================
checking       what ``--check-config`` reads; the state folder
inputs         what a start only reads, before anything is written
store          the cell database, its threads, the sessions, the metrics
hosts          the compute hosts: domains, addresses, ptys
openstack      what asks OpenStack's other services, with users' own tokens
replicas       leases, and the way to the cell's other replicas
access         node groups, SSH, how a console's port is reached and opened
tokens         the authority that issues and checks tokens, and their register
core           all that a cell has without a listener
relay          the proxy listener: page, handshakes, sessions
api            the API listener
monitoring     the listener for monitoring; the loop that rechecks rights
certificates   the listeners' certificates, which SIGHUP reads again
cell           all of it, in the order of its start, and what SIGHUP reads again
============== ==================================================================
"""

from consoled.composition.cell import compose
from consoled.composition.checking import check, make_state_folder

__all__ = ["check", "compose", "make_state_folder"]
