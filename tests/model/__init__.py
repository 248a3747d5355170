"""A model of a POSIX filesystem, and the state machine that holds tierfs against it."""
