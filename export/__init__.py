"""From a checkpoint to a bundle that the runtime reads."""
