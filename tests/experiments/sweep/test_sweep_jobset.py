"""The JobSet of a sweep: read back as YAML, and held against what Kubernetes requires of such objects."""

import re

import pytest
import yaml

from dataseg_jax.errors import InputError
from experiments.sweep.__main__ import main
from experiments.sweep.jobset import Pods, manifest

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SWEEP = ("--config=configs/quickstart.py:smoke", "--config.steps=7", "--executor=jobset", "--out=/runs/Sweep_1")
VOLUME = ("--image=registry/dataseg:1", "--claim=shared")


def printed(capsys, *flags):
    assert main([*SWEEP, *VOLUME, *flags]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def only_job(content):
    (replicated,) = content["spec"]["replicatedJobs"]
    return replicated, replicated["template"]["spec"]


def test_one_indexed_job_of_all_variants(capsys):
    content = printed(capsys, "--parallel=2", "--gpus=1", "--cpus=4", "--memory=16Gi", "--retries=5")
    assert (content["apiVersion"], content["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", content["metadata"]["name"])  # RFC 1123.
    replicated, job = only_job(content)
    assert replicated["replicas"] == 1
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 6, 2)
    assert (job["backoffLimitPerIndex"], job["maxFailedIndexes"]) == (5, 6)
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # Both backoffLimitPerIndex and podFailurePolicy require it.
    (container,) = pod["containers"]
    assert container["image"] == "registry/dataseg:1"
    assert container["command"] == [
        "python", "-m", "experiments.sweep", "--config=configs/quickstart.py:smoke", "--config.steps=7",
        "--out=/runs/Sweep_1", "--variant=$(JOB_COMPLETION_INDEX)",
    ]  # fmt: skip
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": 1}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    assert mounts == {"runs": "/runs", "shm": "/dev/shm"} and set(volumes) == set(mounts)
    assert volumes["runs"] == {"persistentVolumeClaim": {"claimName": "shared"}}


def test_a_job_a_variant_where_it_has_several_hosts(capsys):
    content = printed(capsys, "--nodes=4", "--tpus=4", "--tpu_type=tpu-v5-lite-podslice", "--tpu_topology=4x4")
    replicated, job = only_job(content)
    assert replicated["replicas"] == 6 and content["spec"]["failurePolicy"] == {"maxRestarts": 3}
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 4, 4)
    assert job["backoffLimit"] == 0 and "backoffLimitPerIndex" not in job
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][-1] == "--variant=$(VARIANT)"
    label = "metadata.labels['jobset.sigs.k8s.io/job-index']"
    assert container["env"] == [{"name": "VARIANT", "valueFrom": {"fieldRef": {"fieldPath": label}}}]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }


@pytest.mark.parametrize(
    ("out", "pods", "parallel", "said"),
    [
        ("runs/sweep", {}, None, "--out=runs/sweep: it must lie below --mount=/runs"),
        ("/runs", {}, None, "--out=/runs: it must lie below"),
        ("/runs/a", {"gpus": 1, "tpus": 4}, None, "one or the other"),
        ("/runs/a", {"tpus": 4, "tpu_type": "v5"}, None, "go together"),
        ("/runs/a", {"hosts": 2}, 3, "--parallel"),
    ],
)
def test_what_cannot_work_is_refused(out, pods, parallel, said):
    with pytest.raises(InputError, match=said):
        manifest(["--config=c.py"], 3, out, Pods("image", "claim", **pods), parallel)


def test_image_and_claim_are_needed(capsys):
    with pytest.raises(SystemExit):
        main([*SWEEP, VOLUME[0]])
    assert capsys.readouterr().err == "error: --executor=jobset needs --image and --claim\n"
