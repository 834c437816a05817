"""A panel for napari that segments the volumes one has opened; napari finds it by napari.yaml."""
