"""What can go wrong for a user, each with a sentence that says the cause and the remedy."""


class AudioSepError(Exception):
    """Base of all errors this project raises for a cause outside of its own code."""

    #: Exit code of the command: 1 where the material is at fault, 2 where the call is.
    exit_code = 1


class UsageError(AudioSepError):
    """What was asked for cannot be done: the call has to change."""

    exit_code = 2


class MissingPackageError(UsageError):
    """An optional package is not installed."""


class BundleError(AudioSepError):
    """A model bundle is damaged, or not for this version."""


class UnknownModelError(UsageError, BundleError):
    """No model has that name, and no bundle lies at that path."""


class AudioFileError(AudioSepError):
    """An audio file cannot be read or written."""


class AudioPathError(UsageError, AudioFileError):
    """An input is missing, or an output is not allowed where it was asked for."""


class MetadataError(AudioSepError):
    """A table or list that describes audio is damaged; the message names line and field."""


class SeparatorError(AudioSepError):
    """A separator that is not ours failed on a mixture, or returned something else than a stem."""


class DeviceError(UsageError):
    """The device that was asked for cannot be had."""


class QueryError(UsageError, ValueError):
    """A query is empty, too long, or cannot be encoded."""


class ModeError(UsageError, ValueError):
    """A latency mode is unknown, or a model cannot keep to it."""


class LayoutError(UsageError, ValueError, RuntimeError):
    """An array's shape does not tell, or does not fit, channels and frames.

    Also a ``RuntimeError``, which is what pedalboard raises for it.
    """


class BridgeError(AudioSepError):
    """The bridge's server cannot be reached, refused, or is gone."""
