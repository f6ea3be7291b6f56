"""What an evaluation found: results, intervals, comparison, pages."""
