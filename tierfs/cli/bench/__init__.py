"""``tierfs bench``: measure a mount beside other directories; one file for each verb."""
