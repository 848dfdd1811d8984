"""The tracker: the state of every report, who may change it, and what citizens and staff see of it."""
