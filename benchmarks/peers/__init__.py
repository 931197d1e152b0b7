"""Other producers, each driven in an environment of its own; and ours, driven the same way."""
