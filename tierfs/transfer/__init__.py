"""Trees into a volume and out of it: plain directories on one side, a mount on the other."""
