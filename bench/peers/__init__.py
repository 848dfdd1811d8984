"""The same rules run by other engines. The programs in here run in environments of their own; `bench/side_by_side.py` compares them."""
