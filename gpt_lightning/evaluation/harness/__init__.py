"""Our models behind lm-evaluation-harness."""
