"""Inference: from a history to posterior draws of how skills move together."""
