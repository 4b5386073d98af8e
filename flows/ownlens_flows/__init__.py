"""Prefect flows over the OwnLens engine."""
