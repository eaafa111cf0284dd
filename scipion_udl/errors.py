"""The one kind of error that is meant for the user."""


class UdlError(Exception):
    """Something the user can mend. Its text is one sentence: which file, which item, what is wrong, what to do."""
