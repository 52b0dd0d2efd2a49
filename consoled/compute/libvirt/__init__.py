"""The libvirt driver: domains, and the TCP serial ports in their live XML."""
