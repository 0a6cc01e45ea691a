"""Helpers shared by all packages: errors, files, settings, tables, progress, lazy imports."""
