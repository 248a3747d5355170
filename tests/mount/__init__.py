"""A mounted volume, seen from outside: through the kernel, the tiers and the command line."""
