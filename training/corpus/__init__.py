"""A training corpus made of the openly licensed sounds that Debian packages carry."""
