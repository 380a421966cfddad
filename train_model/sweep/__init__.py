"""Runs a notebook over a grid of parameters, here or spread over many machines."""
