"""What every layer uses: errors, sizes, offset arithmetic, the clock, the OS seam, metrics."""
