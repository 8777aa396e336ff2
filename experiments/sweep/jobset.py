"""The variants of a sweep as a JobSet for Kubernetes (jobset.x-k8s.io/v1alpha2)."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from dataseg_jax.errors import InputError

# The kubelet fills in the number of the pod, which Kubernetes sets, or that of its Job, see `_pod`.
POD_INDEX, JOB_INDEX = "$(JOB_COMPLETION_INDEX)", "$(VARIANT)"


@dataclasses.dataclass(frozen=True)
class Pods:
    """What Kubernetes gives each variant.

    Attributes:
      image: container image whose working directory is a clone, with the extra `sweep` installed.
      claim: PersistentVolumeClaim that all pods can write, where --out lies.
      mount: where the pods mount it.
      hosts: pods per variant; more than one is a TPU slice of several hosts.
      gpus, tpus: chips per pod; cpus, memory: as Kubernetes writes them, "" for its defaults.
      tpu_type, tpu_topology: of the node pool, GKE's names: "tpu-v5-lite-podslice", "2x4".
      retries: how often a variant that fails is started again; evicted pods are not counted.
    """

    image: str
    claim: str
    mount: str = "/runs"
    hosts: int = 1
    gpus: int = 0
    tpus: int = 0
    cpus: str = ""
    memory: str = ""
    tpu_type: str = ""
    tpu_topology: str = ""
    retries: int = 3


def manifest(arguments: Sequence[str], count: int, out: str, pods: Pods, parallel: int | None = None) -> dict:
    """The JobSet as a dict, ready to be written as YAML.

    With one host per variant it is one Job whose completion index is the variant: at most `parallel` run at once, and
    a failed one does not affect the others. With several hosts it is one Job per variant, whose pods start together.

    Args:
      arguments: --config and --config.x.y=z of the sweep; the pods read its variants themselves.
      count: how many variants.
      out: folder of the sweep as the pods see it.
      pods: what each is given.
      parallel: how many run at once; None: as many as the cluster can place.

    Raises:
      InputError: a value that cannot work.
    """
    if PurePosixPath(pods.mount) not in PurePosixPath(out).parents:
        raise InputError(
            f"--out={out}: it must lie below --mount={pods.mount}, where the pods find --claim={pods.claim}"
        )
    if pods.gpus and pods.tpus:
        raise InputError("--gpus and --tpus: a pod has one or the other")
    if bool(pods.tpus) != bool(pods.tpu_type and pods.tpu_topology):
        raise InputError("--tpus, --tpu_type and --tpu_topology go together")
    if pods.hosts > 1 and parallel is not None:
        raise InputError("--parallel: with --nodes above 1 all variants are submitted at once, and the cluster decides")
    single = pods.hosts == 1
    index = POD_INDEX if single else JOB_INDEX
    command = ["python", "-m", "experiments.sweep", *arguments, f"--out={out}", f"--variant={index}"]
    if single:
        job = {"completions": count, "parallelism": min(parallel or count, count)}
        job |= {"backoffLimitPerIndex": pods.retries, "maxFailedIndexes": count}
    else:
        job = {"completions": pods.hosts, "parallelism": pods.hosts, "backoffLimit": 0}
    # An evicted pod does not count as a failure: it is created again, and its run continues.
    evicted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    job |= {"completionMode": "Indexed", "podFailurePolicy": {"rules": [evicted]}, "template": _pod(command, pods)}
    name = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(out).name.lower()).strip("-")[:40] or "sweep"
    spec = {"replicatedJobs": [{"name": "variant", "replicas": 1 if single else count, "template": {"spec": job}}]}
    if not single:
        spec["failurePolicy"] = {"maxRestarts": pods.retries}
    return {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": name}, "spec": spec}


def _pod(command: list[str], pods: Pods) -> dict:
    chips = {"nvidia.com/gpu": pods.gpus, "google.com/tpu": pods.tpus}
    amounts = {key: value for key, value in {"cpu": pods.cpus, "memory": pods.memory}.items() if value}
    limits = amounts | {key: value for key, value in chips.items() if value}
    container = {
        "name": "main",
        "image": pods.image,
        "command": command,
        "volumeMounts": [{"name": "runs", "mountPath": pods.mount}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    if limits:
        container["resources"] = {"limits": limits, "requests": dict(limits)}
    if pods.hosts > 1:
        label = {"fieldRef": {"fieldPath": "metadata.labels['jobset.sigs.k8s.io/job-index']"}}
        container["env"] = [{"name": "VARIANT", "valueFrom": label}]
    spec = {
        "restartPolicy": "Never",  # Required of Jobs that retry by index; the Job makes a new pod instead.
        "terminationGracePeriodSeconds": 90,  # For a last checkpoint.
        "containers": [container],
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": pods.claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},  # Reader processes pass images in shared memory.
        ],
    }
    if pods.tpus:
        prefix = "cloud.google.com/gke-tpu-"
        spec["nodeSelector"] = {f"{prefix}accelerator": pods.tpu_type, f"{prefix}topology": pods.tpu_topology}
    return {"spec": spec}
