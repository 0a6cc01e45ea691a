"""Fitting, executions in run folders, resume, and the recipes behind the weights that ship."""
