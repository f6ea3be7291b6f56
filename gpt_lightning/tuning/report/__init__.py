"""What a sweep has found, as a page and as Markdown."""
