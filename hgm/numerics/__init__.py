"""Numerical methods that know nothing of groups, tasks or learning."""
