"""When a trial is ended early."""
