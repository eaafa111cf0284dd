"""What the program has to say to its user: every warning, note and error as a code with values, and one sentence."""

from scipion_udl.messages.sentence import Message, entries, message, restored, some_of

__all__ = ["Message", "entries", "message", "restored", "some_of"]
