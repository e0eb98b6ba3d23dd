"""The five stages of dvc.yaml, one file each."""
