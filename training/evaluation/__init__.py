"""Benchmarks of language-queried separation: the paper's, any folder of stems, and our own."""
