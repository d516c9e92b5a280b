"""What runs: the retraining pipeline, its Prefect flow, its configuration and its commands."""
