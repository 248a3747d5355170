"""The command ``tierfs`` and the helper of mount(8): words in, messages and exit codes out."""
