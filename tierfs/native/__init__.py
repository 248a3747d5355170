"""The native fast path: requests answered outside Python; ``_router.pyi`` is its face."""
