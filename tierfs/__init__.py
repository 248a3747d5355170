"""tierfs: a tiered POSIX filesystem; file heads on flash, the rest on disk, names in SQLite."""
