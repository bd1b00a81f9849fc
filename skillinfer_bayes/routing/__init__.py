"""From profiles to a decision: ranking, the prompt, and the call to an orchestrating model."""
