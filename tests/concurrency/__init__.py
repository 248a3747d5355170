"""Many processes in the same directories and files at once, and what may come of it."""
