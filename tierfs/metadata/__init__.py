"""The metadata index: every name, attribute and extended attribute, in SQLite."""
