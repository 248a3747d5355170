"""Measure filesystems side by side: workloads in plain POSIX calls on directories.

``framework`` says what a scenario, a side, a result and a report are; each other module is a
scenario, or what several share. Nothing here knows what is mounted on a directory.
"""
