"""Profiles: what is known of new agents, given the population and a few of their scores."""
