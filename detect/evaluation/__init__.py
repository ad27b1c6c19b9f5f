"""Score detections against true boxes and lesions: plain functions on arrays."""
