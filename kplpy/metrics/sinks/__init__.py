"""Where metrics go: CloudWatch, EMF, Prometheus, OpenTelemetry."""
