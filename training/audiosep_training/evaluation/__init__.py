"""Benchmarks of language-queried separation: the paper's, any folder of stems, and our own.

In this order: ``sets`` of items, ``measures`` of an estimate, ``running`` separators over items,
``reporting`` the outcome.

Imports: nothing.
"""
