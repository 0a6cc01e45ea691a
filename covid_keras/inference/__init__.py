"""What a user does with own radiographs: mark the lungs, predict, check the view."""
