"""Haghanifar et al. 2020, COVID-CXNet on frontal radiographs (see README.md beside this file)."""
