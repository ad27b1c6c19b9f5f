"""Scores of linked findings: boxes linked through slices, compared with 3D lesions."""
