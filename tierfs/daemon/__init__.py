"""The FUSE mount: pyfuse3 and trio, and the daemon around them."""
