"""The calls to AWS through botocore: clients, credentials, errors and requests."""
