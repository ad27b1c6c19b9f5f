"""Link the boxes of neighbouring slices to 3D lesions."""
