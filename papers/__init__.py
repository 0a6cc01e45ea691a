"""One subpackage a paper: its settings, its published numbers, its methods and its results, and nothing of the core."""
