"""The real servers that the tests and `make cluster` talk to, all on loopback; no code of Kanal's is imported here."""
