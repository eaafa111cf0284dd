"""Training in a project: each network and method of the form, what they are made of, and what they go on from."""

from __future__ import annotations

import shlex

from scipion_udl.cli.commands import build_parser
from scipion_udl.model_card import read_card
from scipion_udl.objects import UdlModel
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlTrain
from scipion_udl.protocols.protocol_train import JUDL, POLAR, RESNET, UDL
from scipion_udl.settings.commands import TrainSettings
from scipion_udl.tests.scipion_helpers import BOX, COUNT, PIXEL_SIZE, ProjectTest
from scipion_udl.tests.test_protocols_import import write_model

SHAPE = {"widths": "4, 8", "hidden": "16", "inputSize": 16}


class TestUdlTrain(ProjectTest):
    """The protocol to train, from its form to its model."""

    def modelOf(self, **card: object) -> UdlModel:
        """A model without weights, with the card of one of these particles."""
        path = self.folder / "card.safetensors"
        return UdlModel.fromFile(str(write_model(path, **{"box": BOX, "pixel_size": PIXEL_SIZE, **card})))

    def startFrom(self, model: UdlModel, **options: object) -> ProtUdlTrain:
        run = self.newRun(ProtUdlTrain, **options)
        run.inputModel.set(model)
        return run

    def errorsOf(self, **options: object) -> str:
        return "\n".join(self.newRun(ProtUdlTrain, **options).validate())

    def test_the_pair_network_by_udl_then_by_judl_then_in_an_alignment(self) -> None:
        truth = str(self.star.parent / "truth.star")
        small = {"network": RESNET, "truthFile": truth, "epochs": 2}
        first = self.launchProtocol(self.newRun(ProtUdlTrain, method=UDL, **small, **SHAPE))
        self.checkFirst(first)
        second = self.newRun(ProtUdlTrain, method=JUDL, **small)
        second.inputModel.set(first)
        second.inputModel.setExtended("outputModel")
        self.assertEqual((second.validate(), second.warnings()), ([], []))
        self.launchProtocol(second)
        self.assertEqual((second.outputModel.getNetwork(), second.outputModel.getMethod()), ("resnet", "judl"))
        # It starts where the other ended, of the same shape.
        self.assertAlmostEqual(second._trueErrors()[0], first._trueErrors()[-1], places=1)
        self.assertEqual(second._readCard()["config"], first._readCard()["config"])
        self.assertIn("from a model that had been trained by UDL", second.methods()[0])
        self.checkAlignment(second)

    def checkFirst(self, run: ProtUdlTrain) -> None:
        card = read_card(self.proj.getPath(run.outputModel.getFileName()))
        self.assertEqual((card["network"], card["method"]), ("resnet", "udl"))
        shape = {name: card["config"][name] for name in ("size", "widths", "hidden")}
        self.assertEqual(shape, {"size": 16, "widths": [4, 8], "hidden": [16]})
        kept = card["training"]["best_epoch"]
        (row,) = (row for row in run.readTraining() if row["epoch"] == str(kept))
        summary, methods = "\n".join(run.summary()), "\n".join(run.methods())
        self.assertIn("Pair network of the paper (resnet). Preset: Narrow", summary)
        self.assertIn(f"*{float(row['true_error']):.2f}°* mean", summary)
        self.assertIn("not converged", summary)
        for words in ("siamese residual network", f"{COUNT} particles", "[Chen2022]", "He2016"):
            self.assertIn(words, methods)
        self.assertIn(f"{float(row['true_error']):.2f} degrees", methods)
        self.assertIn("10.1109/CVPR.2016.90", "\n".join(run.citations()))

    def checkAlignment(self, trained: ProtUdlTrain) -> None:
        run = self.newRun(ProtUdlAlign2D, modelFrom=1, maxShift=4)
        run.inputModel.set(trained)
        run.inputModel.setExtended("outputModel")
        self.assertEqual(run.validate(), [])
        self.launchProtocol(run)
        self.checkAgainstTruth(run.outputParticles)
        self.assertIn("siamese residual network of pairs of spectra, trained before", run.methods()[0])
        self.assertNotIn("polar", run.methods()[0])

    def test_parameters_that_are_not_shown_do_not_count(self) -> None:
        everything = {"recipe": 1, "joint": 2, "head": 3, **SHAPE}
        polar = self.newRun(ProtUdlTrain, network=POLAR, **everything)
        shown = {name for name in everything if polar.evalParamCondition(name)}
        self.assertEqual((shown, polar._networkOptions()), (set(), " --network polar"))
        udl = self.newRun(ProtUdlTrain, network=RESNET, method=UDL, **everything)
        self.assertEqual({name for name in everything if not udl.evalParamCondition(name)}, {"joint"})
        expected = " --network resnet --preset paper-synthetic --head degrees --widths 4,8 --hidden 16 --input-size 16"
        self.assertEqual(udl._networkOptions(), expected)
        model = self.modelOf(network="resnet", method="udl")
        judl = self.startFrom(model, network=RESNET, method=JUDL, **everything)
        self.assertEqual({name for name in everything if judl.evalParamCondition(name)}, {"recipe", "joint"})
        expected = " --network resnet --preset paper-synthetic --joint autoencoder --model "
        self.assertEqual(judl._networkOptions(), expected + shlex.quote(model.getFileName()))

    def test_the_engine_knows_every_choice(self) -> None:
        for name in ("preset", "head", "joint"):
            answers = TrainSettings.question(name).answers
            self.assertEqual(set(answers), {None, *TrainSettings.option(name).choices})
            for number, option in enumerate(answers):
                run = self.newRun(
                    ProtUdlTrain, network=RESNET, method=JUDL, **{TrainSettings.question(name).name: number}
                )
                words = shlex.split(run._trainingOptions() + run._networkOptions())
                args = build_parser().parse_args(["train", "in.star", "-o", "out", *words])
                self.assertEqual((args.network, args.method), ("resnet", "judl"))
                self.assertEqual(getattr(args, name), option)

    def test_wrong_values_are_told_before_the_run(self) -> None:
        self.assertEqual(self.errorsOf(network=RESNET, method=UDL, **SHAPE), "")
        self.assertIn("*Channels of the blocks*: 'x' is not a whole number", self.errorsOf(network=1, widths="16,x"))
        self.assertIn("*Linear layers*: '0' must be 1 or more", self.errorsOf(network=1, hidden="0"))
        self.assertIn("*Input size* is 0 px", self.errorsOf(network=1, inputSize=0))
        self.assertEqual(self.errorsOf(network=POLAR, widths="16,x", inputSize=0), "")
        self.assertIn("missing.star is not there", self.errorsOf(truthFile="missing.star"))

    def test_a_start_that_does_not_fit_is_refused(self) -> None:
        for card, options, expected in (
            ({"network": "polar", "method": "udl"}, {"network": RESNET}, "is a polar network"),
            ({"network": "resnet", "method": "udl"}, {"network": POLAR}, "choose *Network*: Pair network"),
            ({"network": "polar-free", "method": "udl"}, {"method": JUDL}, "was trained by UDL"),
            ({"network": "resnet", "method": "judl"}, {"network": RESNET, "method": UDL}, "was trained by JUDL"),
            ({"network": "resnet", "box": 2 * BOX}, {"network": RESNET}, f"{6 * BOX} Å across"),
        ):
            with self.subTest(expected):
                self.assertIn(expected, "\n".join(self.startFrom(self.modelOf(**card), **options).validate()))
        fits = self.startFrom(self.modelOf(network="resnet", method="udl"), network=RESNET, method=JUDL)
        self.assertEqual(fits.validate(), [])

    def test_a_matching_network_is_refused_before_the_run(self) -> None:
        model = self.modelOf(network="matching", method="udl")
        self.assertIn("compares two photographs", "\n".join(self.startFrom(model, network=RESNET).validate()))
        run = self.newRun(ProtUdlAlign2D, modelFrom=1)
        run.inputModel.set(model)
        (error,) = run.validate()
        self.assertIn("*Trained model* is a matching network", error)

    def test_what_needs_a_gpu_or_a_start_is_warned_of(self) -> None:
        def warnings(**options: object) -> str:
            return "\n".join(self.newRun(ProtUdlTrain, **options).warnings())

        self.assertEqual(warnings(network=POLAR, method=JUDL, recipe=1), "")
        self.assertEqual(warnings(network=RESNET, method=UDL), "")
        self.assertIn("is for a GPU", warnings(network=RESNET, method=UDL, recipe=2))
        self.assertEqual(warnings(network=RESNET, method=UDL, recipe=2, useGpu=True), "")
        self.assertIn("train by UDL first", warnings(network=RESNET, method=JUDL))

    def test_the_engines_sentence_comes_in_the_words_of_the_form(self) -> None:
        run = self.newRun(ProtUdlTrain, network=RESNET, method=UDL, widths="4,4,4,4,4,4", inputSize=16)
        self.launchToFail(run)
        self.assertIn("give another *Channels of the blocks* or *Input size*", run.getErrorMessage())
