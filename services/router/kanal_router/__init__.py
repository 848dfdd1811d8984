"""The router: which agency must act on a report, by a table of the pack."""
