"""``tierfs policy``: what a tier policy says; one file for each verb."""
