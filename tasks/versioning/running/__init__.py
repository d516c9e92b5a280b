"""How a step is planned and run: once, in parts that are kept, as a Prefect task, over its runners."""
