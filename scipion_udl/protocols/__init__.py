from scipion_udl.protocols.protocol_align_2d import ProtUdlAlign2D
from scipion_udl.protocols.protocol_align_2d_streaming import ProtUdlAlign2DStreaming
from scipion_udl.protocols.protocol_base import ProtUdlBase
from scipion_udl.protocols.protocol_classify_2d import ProtUdlClassify2D
from scipion_udl.protocols.protocol_classify_2d_streaming import ProtUdlClassify2DStreaming
from scipion_udl.protocols.protocol_compare_classes import ProtUdlCompareClasses
from scipion_udl.protocols.protocol_evaluate import ProtUdlEvaluate
from scipion_udl.protocols.protocol_export_particles import ProtUdlExportParticles
from scipion_udl.protocols.protocol_import_model import ProtUdlImportModel
from scipion_udl.protocols.protocol_import_particles import ProtUdlImportParticles
from scipion_udl.protocols.protocol_select_classes import ProtUdlSelectClasses
from scipion_udl.protocols.protocol_simulate import ProtUdlSimulate
from scipion_udl.protocols.protocol_train import ProtUdlTrain

__all__ = [
    "ProtUdlAlign2D",
    "ProtUdlAlign2DStreaming",
    "ProtUdlBase",
    "ProtUdlClassify2D",
    "ProtUdlClassify2DStreaming",
    "ProtUdlCompareClasses",
    "ProtUdlEvaluate",
    "ProtUdlExportParticles",
    "ProtUdlImportModel",
    "ProtUdlImportParticles",
    "ProtUdlSelectClasses",
    "ProtUdlSimulate",
    "ProtUdlTrain",
]
