"""Everything at once, for minutes: writers and readers that verify, moves, policies, watermarks.

TIERFS_SOAK_SECONDS=600 is the ten-minute run; without it the same lasts some seconds.
"""
