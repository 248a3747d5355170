"""What belongs on flash, decided from what is read: heat, replacement, and a simulator of both.

Nothing here moves a byte, opens a file or knows the time: the caller brings all three.
"""
