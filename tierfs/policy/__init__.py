"""The YAML files that people write: what they may say, and what is wrong with them."""
