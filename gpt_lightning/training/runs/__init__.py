"""What a run is: its settings, lengths and folder, where it goes on, how it ended."""
