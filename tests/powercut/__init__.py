"""Power cuts and failing devices: what was synced is there afterwards, whatever else happened."""
