"""The one kind of error that is the user's to mend."""


class SareeError(Exception):
    """Told to the user in one or two lines: the thing, what it is, what was expected, what to do."""
