"""One trial's process: what it is told, what it reports, how it ends."""
