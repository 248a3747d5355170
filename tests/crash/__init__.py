"""The daemon is killed under load; whatever had returned success must be there."""
