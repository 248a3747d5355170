"""What ``tierfs pin``, ``unpin``, ``promote``, ``demote`` and ``where`` have in common.

They work on the mounted files alone, by their virtual extended attributes: so the kernel decides
who may, and they run wherever the files can be seen, as in a container.
"""
