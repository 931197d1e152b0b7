"""Sinks for metrics: CloudWatch, EMF, Prometheus, OpenTelemetry."""
