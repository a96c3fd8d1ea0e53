"""``python -m audiosep_core`` is the ``audiosep`` command."""

from audiosep_core.commands import main

main()
