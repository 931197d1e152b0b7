"""kplpy in other frameworks: logging handlers and AWS Lambda."""
