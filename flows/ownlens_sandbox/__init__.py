"""The demo: embedded servers, a seeded newsroom, a day of changes."""
