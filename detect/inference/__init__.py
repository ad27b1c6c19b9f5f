"""From a scan to lesions in patient space: slices, detections, linking, files."""
