# What type checkers read in place of __init__.py, which imports these when somebody asks for them.
from scipion_udl.api import align as align
from scipion_udl.api import apply as apply
from scipion_udl.api import classify as classify
from scipion_udl.api import compare as compare
from scipion_udl.api import evaluate as evaluate
from scipion_udl.api import load_model as load_model
from scipion_udl.api import simulate as simulate
from scipion_udl.api import train as train
from scipion_udl.constants import __version__ as __version__
from scipion_udl.plugin import Plugin as Plugin

_logo: str
_references: list[str]
