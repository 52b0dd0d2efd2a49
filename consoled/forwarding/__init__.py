"""HTTP and TCP to the instances' own addresses, for callers whom policy lets."""
