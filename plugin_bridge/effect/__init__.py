"""Effects with the call contract of pedalboard plugins, and the board that holds them.

* ``stage``, ``layout``: the call contract that all share
* ``effect``, ``processor``, ``bridge_processor``, ``parameter``: processors
* ``compensation``, ``ramp``: what they and the split are made of
* ``container``, ``plugin_list``, ``chain``: what the containers share
* ``board``, ``mix``, ``split``: plugins in a row, side by side, and one row for each stem

Of the modules, only ``chain`` imports pedalboard, when the first board is made.

Imports: audiosep_core.arrays, audiosep_core.model, audiosep_core.separator,
audiosep_core.settings, plugin_bridge.client.sync, plugin_bridge.live; numpy, pedalboard.
"""
