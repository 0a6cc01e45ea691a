"""The official layouts of the collections in little: each `make_...` writes one below a root and returns its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from covid_keras.data.cohort import Cohort

SIDE = 16
# Ids of the RSNA's form
ONE, TWO, THREE = (f"{digit * 8}-aaaa-bbbb-cccc-{digit * 12}" for digit in "123")


def picture(
    path: Path, width: int = SIDE, height: int | None = None, dtype: type = np.uint8, seed: int | None = None
) -> Path:
    """Write a grey image, square without a height: from dark to bright, with a seed noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height or width, width)
    ramp = np.linspace(0, np.iinfo(dtype).max, shape[0] * width).reshape(shape)
    image = ramp if seed is None else np.random.default_rng(seed).integers(0, 255, shape)
    assert cv2.imwrite(str(path), image.astype(dtype))
    return path


def half(path: Path, left: bool, side: int = SIDE, value: int = 255) -> Path:
    """A mask of the left or the right half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((side, side), np.uint8)
    mask[:, slice(0, side // 2 - 1) if left else slice(side // 2 + 1, side)] = value
    Image.fromarray(mask).save(path)
    return path


def lines(path: Path, *rows: str) -> Path:
    """Write lines of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def append(path: Path, row: str) -> None:
    """Add a line to a table."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{row}\n")


def empty(folder: Path) -> Path:
    """Remove the files of a folder."""
    for path in folder.iterdir():
        path.unlink()
    return folder


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


BIMCV = "sub-S{0}/ses-E{1}/mod-rx/sub-S{0}_ses-E{1}_run-1_bp-chest{2}"


def make_bimcv(folder: Path, labels: str, *names: tuple[str, str, str]) -> Path:
    listed = ["subject\tsession\tfilepath"]
    for subject, session, rest in names:
        path = BIMCV.format(subject, session, rest)
        picture(folder / f"{path}.png", dtype=np.uint16)
        listed.append(f"sub-S{subject}\tses-E{session}\t{path}.png")
    lines(folder / "participants.tsv", "participant", *(f"sub-S{subject}" for subject, *_ in names))
    lines(folder / "derivatives" / "partitions.tsv", *listed)
    lines(
        folder / "derivatives" / "labels" / labels,
        "PatientID\tReportID\tReport\tLabels",
        "sub-S03001\tses-E1\tno report\t\"['pneumonia'\t'unchanged']\"",
    )
    return folder


def make_positive(root: Path) -> Path:
    folder = make_bimcv(
        root / "BIMCV-COVID19-cIter_1_2" / "covid19_posi",
        "labels_covid_posi.tsv",
        ("03001", "1", "_vp-ap_cr"),
        ("03001", "2", "_vp-pa_dx"),
        ("03002", "3", "_vp-ll_dx"),
        ("03003", "4", "_dx"),
        ("03003", "4", "_acq-2_dx"),
    )
    lines(
        folder / "derivatives" / "EHR" / "sil_reg_covid_posi.tsv",
        "participant\tdate\ttest\tresult",
        "sub-S03001\t01.04.2020\tPCR\tPOSITIVO",
        "sub-S03002\t01.04.2020\tPCR\tNEGATIVO",
    )
    dicom = folder / BIMCV.format("03003", "4", "_dx.json")
    tags = {
        "00185101": {"vr": "CS", "Value": ["LL "]},
        "00280004": {"vr": "CS", "Value": ["MONOCHROME1"]},
        "00280010": {"vr": "US", "Value": [16]},
        "00080050": {"vr": "SH"},
    }
    dicom.write_text(json.dumps(tags))
    return folder


def make_negative(root: Path) -> Path:
    return make_bimcv(
        root / "covid19_neg",
        "Labels_covid_NEG_JAN21.tsv",
        ("03002", "7", "_vp-pa_dx"),
        ("04001", "8", "_vp-pa_dx"),
        ("04001", "9", "_vp-ap_dx"),
    )


def make_padchest(root: Path) -> Path:
    folder = root / "PadChest"
    for place, name in (("0", "a"), ("0", "b"), ("images/12", "c"), ("0", "d"), ("0", "ribs"), ("0", "lost")):
        picture(folder / place / f"{name}.png", dtype=np.uint16)
    lines(
        folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        ",ImageID,ImageDir,PatientID,Projection,Labels",
        "0,a.png,0,11,PA,\"['normal', 'exclude']\"",
        "1,b.png,0,11,L,['normal']",
        "2,c.png,12,12,AP_horizontal,",
        "3,d.png,0,13,AP,['pneumonia']",
        "4,ribs.png,0,13,COSTAL,",
        "5,lost.png,0,,PA,",
        "6,else.png,54,14,PA,",
        "7,none.png,0,15,UNK,",
    )
    return folder


def make_precovid(root: Path) -> Path:
    folder = root / "pre-covid"
    for name in ("a.png", "b.png", "unlisted.png"):
        picture(folder / "images" / name)
    lines(folder / "metadata.csv", "filename,patient_id,view,year", "a.png,1,PA,2016", "b.png,1,,2017")
    return folder


def make_kermany(root: Path) -> Path:
    folder = root / "chest_xray"
    for name in (
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0588-0001-0002.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person2_bacteria_3.jpeg",
        "val/NORMAL/IM-0115-0002.jpeg",
        "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
    ):
        picture(folder / name)
    return folder


def make_montgomery(root: Path) -> Path:
    folder = root / "MontgomerySet"
    for stem in ("MCUCXR_0001_0", "MCUCXR_0104_1"):
        picture(folder / "CXR_png" / f"{stem}.png")
        half(folder / "ManualMask" / "leftMask" / f"{stem}.png", left=True)
        half(folder / "ManualMask" / "rightMask" / f"{stem}.png", left=False)
    return folder


def make_shenzhen(root: Path) -> Path:
    folder = root / "ChinaSet_AllFiles"
    for stem in ("CHNCXR_0001_0", "CHNCXR_0002_0", "CHNCXR_0327_1"):
        picture(folder / "CXR_png" / f"{stem}.png")
    for stem in ("CHNCXR_0001_0", "CHNCXR_0327_1"):
        half(folder / "mask" / f"{stem}_mask.png", left=True)
    return folder


def make_jsrt(root: Path) -> Path:
    folder = root / "JSRT"
    for fold, stem in (("fold1", "JPCLN001"), ("fold2", "JPCNN001"), ("fold2", "JPCNN002")):
        picture(folder / "All247images" / f"{stem}.png", 2 * SIDE, dtype=np.uint16)
        for lung in ("left lung", "right lung"):
            half(folder / "scratch" / fold / "masks" / lung / f"{stem}.gif", left=lung.startswith("left"))
    return folder


def make_nih_masks(root: Path) -> Path:
    folder = root / "XLSor_data" / "data" / "NIH"
    for stem in ("00000013_005", "odd"):
        picture(folder / "images" / f"{stem}.png")
        half(folder / "masks" / f"{stem}_mask.png", left=True)
    return folder


COVIDX_TRAIN = (
    "7 SARS-Fig4a-day7.jpeg pneumonia cohen",
    "311a lancet-a.png COVID-19 cohen",
    "COVID-00015a COVID-00015a.png COVID-19 fig1",
    "COVID-00015b COVID-00015b.png COVID-19 fig1",
    "ANON66 CR.1.2.840.66.png COVID-19 actmed",
    "COVID-19(69) COVID-19 (69).png COVID-19 sirm",
    f"{ONE} {ONE}.png normal rsna",
    f"{TWO} {TWO}.png pneumonia rsna",
)
COVIDX_TEST = ("311a lancet-b.jpg COVID-19", "ANON66 DX.1.2.840.67.png COVID-19", f"{THREE} {THREE}.png normal")


def make_covidx(root: Path) -> Path:
    folder = root / "COVIDx5"
    for part, rows in (("train", COVIDX_TRAIN), ("test", COVIDX_TEST)):
        lines(folder / f"{part}_COVIDx5.txt", *rows)
        for row in rows:
            words = [word for word in row.split() if word not in ("cohen", "fig1", "actmed", "sirm", "rsna")]
            picture(folder / "data" / part / " ".join(words[1:-1]))
    return folder


def make_rsna(root: Path) -> Path:
    folder = root / "rsna-pneumonia-detection-challenge"
    for name in (f"{ONE}.png", f"{TWO}.jpg", f"{THREE}.png"):
        picture(folder / "stage_2_train_images" / name)
    lines(
        folder / "stage_2_detailed_class_info.csv",
        "patientId,class",
        f"{ONE},Normal",
        f"{TWO},Lung Opacity",
        f"{TWO},Lung Opacity",
        f"{THREE},No Lung Opacity / Not Normal",
    )
    lines(
        folder / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        f"{ONE},,,,,0",
        f"{TWO},1,2,3,4,1",
        f"{TWO},5,6,3,4,1",
        f"{THREE},,,,,0",
    )
    return folder


def make_dicom(path: Path, subject: str, number: int, **tags: str) -> Path:
    pydicom = pytest.importorskip("pydicom")
    pixels = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    data.PatientID, data.StudyInstanceUID, data.Modality, data.ViewPosition = subject, f"1.9.{number // 2}", "CR", "AP"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PixelRepresentation = SIDE, SIDE, 1, 0
    data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored, data.HighBit = "MONOCHROME1", 16, 12, 11
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def make_ricord(root: Path) -> Path:
    folder = root / "manifest-1" / "MIDRC-RICORD-1C"
    first, second = "MIDRC-RICORD-1C-419639-000025", "MIDRC-RICORD-1C-SITE2-000002"
    for number, (subject, tags) in enumerate(
        (
            (first, {}),
            (first, {"ViewPosition": "PA", "Modality": "DX"}),
            (first, {"ViewPosition": "LL"}),
            (second, {"ViewPosition": "AP SUPINE"}),
            (second, {"ViewPosition": ""}),
            (second, {"Modality": "CT"}),
        ),
        2,
    ):
        make_dicom(folder / subject / f"study-{number // 2}" / f"1.{number}" / "1-1.dcm", subject, number, **tags)
    return folder


def make_cohen(root: Path, rows: Iterable[tuple[int, str, str]]) -> Path:
    """Write an image c0.png, c1.png, ... of noise for each (patient, finding, view)."""
    folder = root / "covid-chestxray-dataset"
    listed = ["patientid,finding,view,modality,filename"]
    for number, (patient, finding, view) in enumerate(rows):
        picture(folder / "images" / f"c{number}.png", 64, seed=50 + number)
        listed.append(f'{patient},"{finding}",{view},X-ray,c{number}.png')
    lines(folder / "metadata.csv", *listed)
    return folder


def make_covid_cxnet(root: Path, stems: Iterable[str], *rows: str) -> Path:
    """Write an image of noise for each stem, and the table's rows "filename,patient_id,view"."""
    folder = root / "COVID-CXNet"
    for seed, stem in enumerate(stems):
        picture(folder / "chest_xray_images" / "covid19" / f"{stem}.png", 64, seed=seed)
    lines(folder / "metadata.csv", "filename,patient_id,view", *rows)
    return folder


def make_nih_subset(root: Path, pneumonia: Iterable[str] = (), no_findings: Iterable[str] = ()) -> Path:
    """Write images of noise named PATIENT_VISIT of both labels of the two-folder subset."""
    folder = root / "nih-chestxray14-subset"
    for label, names, first in (("Pneumonia", pneumonia, 20), ("No_findings", no_findings, 30)):
        for seed, name in enumerate(names, first):
            patient, visit = name.split("_")
            picture(folder / label / f"{int(patient):08d}_{int(visit):03d}.jpg", 64, seed=seed)
    return folder


def make_covidgr(root: Path, names: Iterable[str], *severities: str) -> Path:
    """Write an image of noise for each name, "N/stem" or "P/stem", and the severities "stem,LEVEL"."""
    folder = root / "COVIDGR-1.0"
    for seed, name in enumerate(names):
        picture(folder / f"{name}.jpg", 40, seed=seed)
    lines(folder / "severity.csv", "Name,Severity", *severities)
    return folder


def stems(cohort: Cohort, label: str) -> list[str]:
    """Return the ids of a label's images without the name of their collection, in order."""
    return cohort.table.loc[cohort.table["label"] == label, "image_id"].str.partition("/")[2].tolist()
