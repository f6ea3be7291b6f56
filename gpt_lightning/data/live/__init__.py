"""A store that training reads while it is still being made."""
