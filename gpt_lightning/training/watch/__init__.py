"""What a run shows of itself: loggers, trackers, alerts, diagnostics, traces."""
