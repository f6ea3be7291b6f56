"""Before and beside training: memory and time estimated, the step measured, what to change."""
