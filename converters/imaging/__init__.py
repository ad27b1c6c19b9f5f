"""Volumes and their geometry: NIfTI, NRRD, MetaImage, PNG stacks and DICOM series."""
