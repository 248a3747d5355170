"""What every test runs under: the guards, described in docs/developing/testing.md."""

pytest_plugins = [
    "pytester",
    "tests.guards.mounts",
    "tests.guards.descriptors",
    "tests.guards.logs",
    "tests.guards.fuse",
]
