"""A DuckDB file as a destination of OwnLens."""
