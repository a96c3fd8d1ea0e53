"""The bridge's clients."""
