"""The dataset folder: manifest, COCO and YOLO labels, split, folds, audit."""
