"""Filesystem semantics: names, attributes, reads, writes, durability, recovery.

Synchronous, thread-safe, and free of FUSE types, so that all of it is tested without a mount.
"""
