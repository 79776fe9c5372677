"""Checks the manifests of docs/kubernetes against the schemas of the Kubernetes API.

    kubernetes.py <folder>    prints the environment of each container, as the cluster would make it

A key that the schema does not know fails, too.
"""

import json
import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

# The oldest and the newest whose schemas are at hand.
VERSIONS = ("1.25", "1.37")
ENVIRONMENT = {"metadata.name": "snowflake-agents-5c7d9"}


def environment(container, secrets):
    """Values of secrets come first, as in a pod, and those of `env` win."""
    values = {}
    for source in container.get("envFrom", []):
        values |= secrets[source["secretRef"]["name"]]
    for variable in container["env"]:
        source = variable.get("valueFrom")
        values[variable["name"]] = ENVIRONMENT[source["fieldRef"]["fieldPath"]] if source else variable["value"]
    return values


def check_references(documents, pod, container):
    mounted = {volume["name"] for volume in pod.get("volumes", [])}
    mounted |= {claim["metadata"]["name"] for document in documents for claim in document["spec"].get("volumeClaimTemplates", [])}
    assert {mount["name"] for mount in container["volumeMounts"]} == mounted, mounted
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
        assert container[probe]["httpGet"]["path"] in ("/live", "/ready")


def main(folder):
    result = {"manifests": 0, "containers": {}}
    for file in sorted(folder.glob("*.yaml")):
        documents = list(yaml.safe_load_all(file.read_text()))
        secrets, workloads = {}, []
        for document in documents:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
            result["manifests"] += 1
            if document["kind"] == "Secret":
                secrets[document["metadata"]["name"]] = document["stringData"]
            if document["kind"] in ("Deployment", "StatefulSet"):
                workloads.append(document)
        for workload in workloads:
            pod = workload["spec"]["template"]["spec"]
            labels = workload["spec"]["template"]["metadata"]["labels"]
            for document in documents:
                spec = document.get("spec", {})
                selector = spec.get("selector", {})
                assert selector.get("matchLabels", selector) in ({}, labels), f"{file}: selects no pod: {selector}"
                target = spec.get("scaleTargetRef")
                assert target is None or target["name"] == workload["metadata"]["name"], target
            for container in pod["containers"]:
                check_references([workload], pod, container)
                result["containers"][file.name] = environment(container, secrets)
    # What was checked can fail.
    wrong = yaml.safe_load(file.read_text().split("\n---\n")[1].replace("containers:", "container:"))
    try:
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)
    except kubernetes_validate.ValidationError as error:
        assert re.search(r"containers?", str(error)), error
    else:
        raise AssertionError("a wrong manifest is taken")
    print(json.dumps(result))


main(Path(sys.argv[1]))
