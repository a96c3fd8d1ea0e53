"""The desk: a local page to try words by ear and eye, and an endpoint that HARP loads.

* ``separation``: what is asked in the page, and what becomes of it
* ``heard``: files as a live stream would sound
* ``runs``: what is under way, and how it is stopped
* ``remix``: stems to one sound, without separating again
* ``page``: what is seen
* ``harp``: what HARP asks for
* ``launch``: the page on this machine
* ``space``: the page as a folder for a hub

Imports: audiosep_core.demo, audiosep_core.files, audiosep_core.model,
audiosep_core.separator, audiosep_core.settings, audiosep_core.signal, plugin_bridge.live;
gradio, numpy, starlette.
"""
