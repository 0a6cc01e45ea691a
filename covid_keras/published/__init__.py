"""What a paper printed: published cells, claims and facts, read and validated."""
