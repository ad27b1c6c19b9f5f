"""How good the detections are: one evaluator for every family, plain functions on arrays."""
