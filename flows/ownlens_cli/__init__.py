"""The `ownlens` command."""
