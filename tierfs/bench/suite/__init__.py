"""The project's own acceptance run: volumes and peers in memory, every figure, wanted and met."""
