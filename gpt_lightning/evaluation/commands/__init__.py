"""The commands ``evaluate ...``."""
