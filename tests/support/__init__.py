"""What the tests that need a mount or a real program share."""
