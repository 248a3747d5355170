"""Replacement policies on made-up or recorded reads, with a virtual clock: tierfs's and others."""
