"""BIMCV-COVID19- (de la Iglesia Vayá and others, 2021), iterations 1 + 2: radiographs of patients tested negative.

What
    Radiographs (CR, DX) and CT of patients of the Valencian health system with negative tests for COVID-19, from the
    same hospitals and months as BIMCV-COVID19+. Many have another disease. Read here: the radiographs.
Layout
    That of iterations 1 + 2, all archives unpacked into one folder `covid19_neg/`: as `bimcv_positive`, with
    `derivatives/labels/Labels_covid_NEG_JAN21.tsv` (PatientID, ReportID, Labels) and without a table of tests.
Cohort
    Every radiograph, label "no COVID-19". View from the file's name, else the header, else unknown. Further columns:
    `session`, `finding` (raw, of the session). Patients have the same ids as in `bimcv_positive`.
Known problems
    Not tested on the real collection: layout and table names follow programs that read it.
    Some patients are also in BIMCV-COVID19+, with another test on another day: `bimcv.without_patients_of(negative,
    positive)` removes them (Experiment 2 of Arias-Garzon and others, 2021: 1,370 of 4,610 images). Inverted images,
    windows and views: see `bimcv_positive`. No published number of radiographs was found; the expected count is
    the 4,610 frontal images of that paper, selected by its own view filter, so yours will differ.
"""

from __future__ import annotations

from covid_keras.data.sources.bimcv import Bimcv

SOURCE = Bimcv(
    name="bimcv_negative",
    classes=("no COVID-19",),
    title="BIMCV-COVID19- (iterations 1 + 2)",
    url="https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/",
    licence="BIMCV's research use agreement",
    size="63 archives of some hundred GB, most of it CT; the paper took 4,610 radiographs as frontal",
    images=4_610,
    layout="covid19_neg/ with sub-S*/ses-E*/mod-rx/*.png and derivatives/labels/Labels_covid_NEG_JAN21.tsv",
    access="Accept the agreement at https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/, download the archives of"
    " tables and of subjects of the share BIMCV-COVID19-cIter_1_2-Negative and unpack all of them in the data folder",
    citation="de la Iglesia Vayá et al.: BIMCV COVID-19-: a large annotated dataset of RX and CT images from COVID-19"
    " patients. IEEE Dataport, 2021",
    doi="10.21227/m4j2-ap59",
    checks={"frontal radiographs": 4_610},
    folders=(
        "covid19_neg",
        "BIMCV-COVID19-cIter_1_2-Negative/covid19_neg",
        "BIMCV-COVID19-",
        "bimcv_negative",
        "bimcv-",
    ),
    marks=("derivatives/labels/Labels_covid_NEG_JAN21.tsv",),
    labels="derivatives/labels/Labels_covid_NEG_JAN21.tsv",
)
