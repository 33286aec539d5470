"""The stages of the pipeline, one module for each verb. They never import one another."""
