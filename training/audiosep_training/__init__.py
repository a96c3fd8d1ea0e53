"""Training and evaluation of separation networks.

Imports: audiosep_core.commands; lightning, tomli.
"""
