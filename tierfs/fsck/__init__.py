"""The check of a volume that is not mounted: what is lost, what is damaged, what takes room."""
