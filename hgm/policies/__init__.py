"""Actors and critics, with TorchRL's keys."""
