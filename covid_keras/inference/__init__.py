"""Inference on the user's radiographs: mark the lungs, predict, check the view."""
