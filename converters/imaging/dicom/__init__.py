"""DICOM series: headers, frames, pixels and geometry."""
