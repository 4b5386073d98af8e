"""The postgresql destination."""
