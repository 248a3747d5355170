"""Programs that people use every day, run on a mounted volume."""
