"""What 'Analyze results' shows, drawn with matplotlib from the files of the run; Xmipp's viewer is not needed."""

from scipion_udl.viewers.alignment import UdlAlign2DViewer
from scipion_udl.viewers.classes import UdlClassesViewer
from scipion_udl.viewers.classification import UdlClassify2DViewer
from scipion_udl.viewers.comparison import UdlCompareClassesViewer
from scipion_udl.viewers.evaluation import UdlEvaluateViewer
from scipion_udl.viewers.models import UdlModelViewer, UdlTrainViewer
from scipion_udl.viewers.selection import UdlSelectClassesViewer

__all__ = [
    "UdlAlign2DViewer",
    "UdlClassesViewer",
    "UdlClassify2DViewer",
    "UdlCompareClassesViewer",
    "UdlEvaluateViewer",
    "UdlModelViewer",
    "UdlSelectClassesViewer",
    "UdlTrainViewer",
]
