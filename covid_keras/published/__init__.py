"""Published cells, claims and facts of papers, read and validated."""
