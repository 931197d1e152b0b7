"""Celery with a broker, and results, in a folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def queues(folder: Path) -> Any:
    """The Celery application, as worker and clients see it."""
    return in_folder(import_module("celery").Celery("app"), folder)


def in_folder(app: Any, folder: Path) -> Any:
    """Return the application, set to keep its queue and results in the folder."""
    for name in ("queue", "control", "results"):
        (folder / name).mkdir(exist_ok=True)
    app.conf.broker_url = "filesystem://localhost"
    app.conf.result_backend = f"file://{folder}/results"
    app.conf.broker_transport_options = {
        "data_folder_in": f"{folder}/queue",
        "data_folder_out": f"{folder}/queue",
        "control_folder": f"{folder}/control",
        "polling_interval": 0.05,
    }
    app.conf.worker_prefetch_multiplier = 1
    return app
