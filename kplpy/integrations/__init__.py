"""kplpy with logging and AWS Lambda."""
