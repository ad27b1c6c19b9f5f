"""DICOM results of a prediction: the source series, SR and SEG."""
