"""SMS: a gateway's signed webhook in, its HTTP API out."""
