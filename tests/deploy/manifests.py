"""The manifests of deploy/, read as documents. Applies nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that Kubernetes is given, with a name for the test."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in documents(path):
                yield f"{path.relative_to(KUBERNETES)}:{document['kind']}", document


def only(kind: str, folder: str = "base") -> dict[str, Any]:
    """The one document of a kind in a folder."""
    (found,) = [
        document
        for path in sorted((KUBERNETES / folder).glob("*.yaml"))
        for document in documents(path)
        if document.get("kind") == kind
    ]
    return found


def pod_containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """The containers that run the image: the deployment's and KServe's."""
    yield "deployment", only("Deployment")["spec"]["template"]["spec"]["containers"][0]
    yield "kserve", only("ServingRuntime", "kserve")["spec"]["containers"][0]
