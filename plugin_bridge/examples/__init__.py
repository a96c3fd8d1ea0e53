"""Programs to start from.

Imports: plugin_bridge; pedalboard.
"""
