"""The register of known weights and its resolver; no weights themselves."""
