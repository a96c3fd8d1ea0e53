"""Live use: streaming, pedalboard and the local bridge for DAW front-ends."""
