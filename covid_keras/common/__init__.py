"""Errors, files, settings, progress and the import of TensorFlow: what every floor uses."""
