"""The forms of protocols that ask much: their questions, what the answers mean to the engine, and checks of them.

They stand above ``protocol_base``, and the protocols above them. What adds a question to any form is
:mod:`scipion_udl.protocols.asking`.
"""
