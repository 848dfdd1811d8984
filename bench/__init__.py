"""Repeatable measurements; each prints a table. Run with `make bench`."""
