"""Header facts: extractors, their processes, and which files are looked at."""
