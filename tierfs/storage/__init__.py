"""The object stores: one directory for flash, one for disk."""
