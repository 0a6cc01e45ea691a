"""The methods that are compared, the tests of each, and the name of the system that makes each test's predictions.

- "within": held-out patients of the collections that the method was trained on;
- "across": patients of Cohen's collection, none of whom it was trained on: COVID-19 and all else come from the same
  collection, which therefore says nothing of the class;
- "external": a further collection with both classes, if one is given;
- "finding": pneumonia against no finding within NIH ChestX-ray14, trained for that;
- "matched": the same training, tested on those of its test images that are matched by view and age.

"across", "external" and "matched" test the network that "within" or "finding" trained. Each system also predicts the
validation images of its training, so that a threshold can be chosen on them.
"""

from __future__ import annotations

from dataclasses import dataclass

TESTS = {"within": "", "across": "_across", "external": "_external", "finding": "_finding", "matched": "_matched"}
# Tests of a training for COVID-19, and of a training for pneumonia.
OF_COVID, OF_FINDING = ("within", "across", "external"), ("finding", "matched")
# The test that a training is named after.
TRAINED = {OF_COVID: "within", OF_FINDING: "finding"}


@dataclass(frozen=True)
class Method:
    """A method of one of the papers, or a floor.

    Attributes
    ----------
    name, title : str
        Name of its system "within", and how tables call it.
    paper : str
        The paper; "" for a floor.
    finding : bool
        Whether it is trained for pneumonia against no finding too: the floors, and of each paper the method that is
        cheapest to train (of equal ones the first), because training all of them twice would take too long.
    """

    name: str
    title: str
    paper: str = ""
    finding: bool = False

    @property
    def floor(self) -> bool:
        """Whether it only shows what can be told without looking into the lungs."""
        return not self.paper

    @property
    def systems(self) -> dict[str, str]:
        """Test -> name of the system."""
        tests = (*OF_COVID, *(OF_FINDING if self.finding else ()))
        return {test: self.name + TESTS[test] for test in tests}


_SDNET, _CXNET, _ARIAS, _HERTEL = "covid_sdnet", "covid_cxnet", "arias_vgg19", "hertel_ensemble"
METHODS = {
    method.name: method
    for method in (
        Method("resnet50_full", "ResNet-50, whole image", _SDNET),
        Method("resnet50_crop", "ResNet-50, lung crop", _SDNET),
        Method("fucitnet", "FuCiTNet", _SDNET),
        Method("covid_sdnet", "COVID-SDNet", _SDNET),
        Method("covid_caps", "COVID-CAPS", _SDNET, finding=True),
        Method("base_cnn", "Base CNN", _CXNET, finding=True),
        Method("cxnet_v1", "COVID-CXNet v1", _CXNET),
        Method("cxnet_v2", "COVID-CXNet v2", _CXNET),
        Method("vgg19_c", "VGG-19, whole image", _ARIAS, finding=True),
        Method("vgg19_d", "VGG-19, lungs only", _ARIAS),
        Method("vgg19_e", "VGG-19, lungs removed", _ARIAS),
        Method("densenet201", "DenseNet-201, lungs only", _HERTEL, finding=True),
        Method("ensemble", "Weighted ensemble of three", _HERTEL),
        Method("thumbnail", "Logistic regression, 32 x 32 pixels", finding=True),
        Method("lung_shape", "Logistic regression, shape of the lungs", finding=True),
    )
}
FLOORS = tuple(name for name, method in METHODS.items() if method.floor)
