"""Reground as a service on one machine: a Prefect server, its work pools, deployments, automations and workers."""
