"""Arias-Garzon et al. 2021: VGG16 and VGG19 with a view filter, three lung U-Nets, and radiographs without lungs."""
