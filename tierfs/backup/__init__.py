"""Backups of the index, the copy of the change feed between them, and the way back.

``files`` says what is in the directory of the backups, ``making`` writes it. ``restore`` makes an
index again, ``reconcile`` decides what the objects that are found mean for it.
"""
