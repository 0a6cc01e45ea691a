"""DICOM files of made pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def write_dicom(path: Path, pixels: np.ndarray, modality: str = "DX", preamble: bool = True) -> Path:
    """Write uint8 pixels, (H, W) as 12 bits of grey or (H, W, 3) as RGB; without preamble the file has no header."""
    pydicom = pytest.importorskip("pydicom", reason="DICOM needs covid-keras[dicom]")
    file = pydicom.dataset.FileDataset(str(path), {}, file_meta=pydicom.dataset.FileMetaDataset(), preamble=bytes(128))
    file.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = pydicom.uid.generate_uid()
    file.Modality = modality
    file.Rows, file.Columns = pixels.shape[:2]
    file.PixelRepresentation = 0
    if pixels.ndim == 3:
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PlanarConfiguration = 3, "RGB", 0
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelData = 8, 8, 7, pixels.tobytes()
    else:
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
        file.PixelData = (pixels.astype("<u2") * 16).tobytes()
    if preamble:
        file.save_as(path, enforce_file_format=True)
    else:
        plain = pydicom.Dataset()
        plain.update({element.tag: element for element in file})
        plain.save_as(path, implicit_vr=True, little_endian=True)
    return path
