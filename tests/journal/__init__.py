"""The journal: one contract suite on both back ends, what only Kafka does, and the spool in front."""
