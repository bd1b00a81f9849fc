"""Checks: did the fit converge, and can its answers be trusted."""
