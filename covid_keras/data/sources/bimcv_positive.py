"""BIMCV-COVID19+ (de la Iglesia Vayá and others, 2020), iterations 1 + 2: radiographs of patients with COVID-19.

What
    Radiographs (CR, DX) and CT of patients of the Valencian health system with a positive PCR or antibody test, with
    findings from the reports, tests and DICOM headers. Read here: the radiographs.
Layout
    That of iterations 1 + 2, all archives unpacked into one folder `covid19_posi/`: `participants.tsv`,
    `sub-S*/ses-E*/mod-rx/sub-S<n>_ses-E<n>_..._vp-<ap, pa, ll>_<cr, dx>.png` (16 bits) with a `.json` of the DICOM
    header each, `derivatives/partitions.tsv` (subject, session, file; optional), `derivatives/labels/
    labels_covid_posi.tsv` (PatientID, ReportID, Labels), `derivatives/EHR/sil_reg_covid_posi.tsv` (participant, date,
    test, result; optional). Any number of archives of subjects will do.
Cohort
    Every radiograph, label "COVID-19" (the patient's, whatever the day of the test or the report says). View from the
    file's name, else the header, else unknown. Further columns: `session`, `finding` (raw, of the session), `tested`
    ("positive" where the table of tests has a positive result of the patient, else "").
Known problems
    Not tested on the real collection: layout and table names follow programs that read it. Images are stored as in the
    device: if the header says MONOCHROME1, bone is dark in the PNG
    (`bimcv.upright_grey` turns these), and no window is applied. Others report lateral images under a frontal name, a
    few upside down and some that do not show a chest. Images from long before or after the disease carry the label too.
    Some patients are also in BIMCV-COVID19- (`bimcv.without_patients_of`). The numbers of CR and DX of iterations 1 + 2
    were not verified (iteration 1 alone: 1,380 and 885 studies of 1,311 patients; iterations 1 + 2 + 3: 21,342 and
    34,829). The expected count is the 12,802 frontal images of Arias-Garzon and others, 2021, selected by their own
    view filter, so yours will differ.
"""

from __future__ import annotations

from pathlib import Path

from covid_keras.common.tables import read_table
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.bimcv import Bimcv

TESTS = Path("derivatives") / "EHR" / "sil_reg_covid_posi.tsv"


class BimcvPositive(Bimcv):
    """BIMCV-COVID19+, with its table of tests."""

    def load(self, folder: Path) -> Cohort:
        """Return the radiographs as a cohort. Further columns: `session`, `finding`, `tested`.

        Raises `UserError` as `Bimcv.load`, and if the table of tests lacks a column.
        """
        cohort = super().load(folder)
        tested: set[str] = set()
        if (folder / TESTS).is_file():
            table = read_table(folder / TESTS, ("participant", "result"))
            tested = set(table["participant"][table["result"].str.casefold() == "positivo"])
        subjects = cohort.table["patient_id"].str.removeprefix("bimcv/")
        marks = subjects.isin(tested).map({True: "positive", False: ""})
        return Cohort(cohort.table.assign(tested=marks), cohort.classes, cohort.name)


SOURCE = BimcvPositive(
    name="bimcv_positive",
    classes=("COVID-19",),
    title="BIMCV-COVID19+ (iterations 1 + 2)",
    url="https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/",
    licence="BIMCV's research use agreement",
    size="81 archives of some hundred GB; 7,377 CR and 9,463 DX, of which the paper took 12,802 as frontal",
    images=12_802,
    layout="covid19_posi/ with sub-S*/ses-E*/mod-rx/*.png and derivatives/labels/labels_covid_posi.tsv",
    access="Accept the agreement at https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/, download the archives of"
    " tables and of subjects of the share BIMCV-COVID19-cIter_1_2 and unpack all of them in the data folder",
    citation="de la Iglesia Vayá et al.: BIMCV COVID-19+: a large annotated dataset of RX and CT images from COVID-19"
    " patients. arXiv:2006.01174, 2020",
    doi="10.48550/arXiv.2006.01174",
    checks={"frontal radiographs": 12_802},
    folders=("covid19_posi", "BIMCV-COVID19-cIter_1_2/covid19_posi", "BIMCV-COVID19+", "bimcv_positive", "bimcv+"),
    marks=("derivatives/labels/labels_covid_posi.tsv",),
    labels="derivatives/labels/labels_covid_posi.tsv",
)
