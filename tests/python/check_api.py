"""Checks the public API from Python: stubs generated from /proto, calls over plain gRPC.

    check_api.py --muster target/release/muster     starts a cluster for itself with `muster dev`
    check_api.py --address 127.0.0.1:7070           uses one that is there

Needs the packages of requirements.txt. Prints one line a check and ends with 1 if any failed.
"""

import argparse
import contextlib
import importlib
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60
RUN_SECONDS_MAX = 60
# `--masters 3` starts elections; `--workers 2` gives the plan a choice.
DEV = ["dev", "--masters", "3", "--workers", "2"]

MANIFEST = """
apiVersion: v1
kind: Workflow
name: from-python
params: {who: python}
tasks:
  first:
    run: echo "greeting=hello $WHO" >> "$MUSTER_OUTPUT"
    env: {WHO: "${{ params.who }}"}
    outputs: [greeting]
  many:
    needs: [first]
    array: 0-9
    command: ["true"]
  last:
    needs: [many]
    noop: {}
"""

ASKING_MANIFEST = """
apiVersion: v1
kind: Workflow
name: asking-python
tasks:
  ask: {approval: {message: Well?}}
"""

BAD_MANIFEST = """
apiVersion: v1
kind: Workflow
name: bad
tasks:
  one:
    needs: [two]
    run: "true"
    retries: 3
"""


class Stubs:
    """The modules that protoc makes of /proto, in a temporary folder."""

    def __init__(self, folder):
        proto = REPOSITORY / "proto"
        files = sorted(str(path) for path in (proto / "muster" / "v1").glob("*.proto"))
        result = protoc.main(["protoc", f"-I{proto}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files])
        if result != 0:
            raise SystemExit(f"protoc failed with {result}")
        sys.path.insert(0, folder)

    def __getattr__(self, name):
        return importlib.import_module(f"muster.v1.{name}")


class Checks:
    """Counts what failed."""

    def __init__(self):
        self.failed = 0

    def that(self, holds, what):
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        self.failed += not holds


@contextlib.contextmanager
def cluster(arguments):
    """The address of an API: the given one, or that of a cluster that ends with the block."""
    if arguments.address:
        yield arguments.address
        return
    with tempfile.TemporaryDirectory() as data:
        command = [arguments.muster, *DEV, "--data-dir", data]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = []
        reader = threading.Thread(target=lambda: said.extend(iter(process.stdout.readline, "")), daemon=True)
        reader.start()
        try:
            yield announced_address(process, said)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def announced_address(process, said):
    """The API's address, from what `muster dev` prints."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        for line in list(said):
            found = re.search(r"(?i)api\b.*?(127\.0\.0\.1:\d+)", line)
            if found:
                return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"muster dev announced no API address within {START_SECONDS_MAX} s:\n{''.join(said)}")


def wait_ready(channel):
    """Until the asked master knows a leader."""
    health = health_pb2_grpc.HealthStub(channel)
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            answer = health.Check(health_pb2.HealthCheckRequest(service="readiness"), timeout=2)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return True
        except grpc.RpcError:
            pass
        time.sleep(0.1)
    return False


def detail(error, kind):
    """The error detail of one kind, or None."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else []:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def refused(call, request):
    """The error that a call ends with."""
    try:
        call(request, timeout=10)
    except grpc.RpcError as error:
        return error
    return None


def check_health_and_reflection(channel, checks):
    health = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=5)
    checks.that(answer.status == health_pb2.HealthCheckResponse.SERVING, "health: liveness")
    services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    expected = {f"muster.v1.{name}Service" for name in ("Workflow", "Run", "Worker", "Log", "Cluster")}
    checks.that(expected <= services, f"reflection lists {len(expected)} services of muster.v1")


def check_run(stubs, channel, checks):
    run_pb2, source = stubs.run_service_pb2, stubs.workflow_service_pb2.WorkflowSource(manifest=MANIFEST)
    runs = stubs.run_service_pb2_grpc.RunServiceStub(channel)
    request = run_pb2.SubmitRunRequest(request_id=str(uuid.uuid4()), source=source, params={"who": "grpc"})
    first = runs.SubmitRun(request, timeout=10)
    checks.that(first.workflow == "from-python" and first.number >= 1, "submit a workflow by its YAML")
    again = runs.SubmitRun(request, timeout=10)
    checks.that(again.run_id == first.run_id, "the same request id gives the same run")
    request.params["who"] = "somebody else"
    error = refused(runs.SubmitRun, request)
    is_refused = error is not None and error.code() == grpc.StatusCode.ALREADY_EXISTS
    checks.that(is_refused, "the same request id with another body is ALREADY_EXISTS")

    named = stubs.common_pb2.RunRef(workflow="from-python", number=first.number)
    ended = runs.WaitRun(run_pb2.WaitRunRequest(run=named), timeout=RUN_SECONDS_MAX).run
    checks.that(ended.status == run_pb2.RUN_STATUS_SUCCEEDED, "wait for the run, which succeeds")
    tasks = {task.id: task for task in runs.ListTasks(run_pb2.ListTasksRequest(run=named), timeout=10).tasks}
    checks.that(list(tasks) == ["first", "many", "last"], "list its tasks in the order of the file")
    is_said = tasks["first"].outputs.get("greeting") == "hello grpc"
    checks.that(is_said, "a parameter reaches the task, an output comes back")
    checks.that(tasks["many"].tally.succeeded == 10, "all indices of the array succeeded")
    listed = runs.ListRuns(run_pb2.ListRunsRequest(workflow="from-python", page_size=1), timeout=10).runs
    checks.that([run.id for run in listed] == [first.run_id], "list the newest run")


def check_approval(stubs, channel, checks):
    run_pb2 = stubs.run_service_pb2
    runs = stubs.run_service_pb2_grpc.RunServiceStub(channel)
    source = stubs.workflow_service_pb2.WorkflowSource(manifest=ASKING_MANIFEST)
    submitted = runs.SubmitRun(run_pb2.SubmitRunRequest(request_id=str(uuid.uuid4()), source=source), timeout=10)
    named = stubs.common_pb2.RunRef(id=submitted.run_id)
    [task] = runs.ListTasks(run_pb2.ListTasksRequest(run=named), timeout=10).tasks
    is_asked = task.status == run_pb2.TASK_STATUS_AWAITING and task.message == "Well?"
    checks.that(is_asked, "an approval waits for a person, and says what it asks")
    answer = run_pb2.EndTaskRequest(run=named, task="ask", verdict=run_pb2.VERDICT_APPROVED, reason="yes")
    answer.request_id = str(uuid.uuid4())
    runs.EndTask(answer, timeout=10)
    ended = runs.WaitRun(run_pb2.WaitRunRequest(run=named), timeout=RUN_SECONDS_MAX).run
    checks.that(ended.status == run_pb2.RUN_STATUS_SUCCEEDED, "approved, it succeeds")


def check_errors(stubs, channel, checks):
    workflow_pb2 = stubs.workflow_service_pb2
    workflows = stubs.workflow_service_pb2_grpc.WorkflowServiceStub(channel)
    source = workflow_pb2.WorkflowSource(manifest=BAD_MANIFEST)
    error = refused(workflows.ValidateWorkflow, workflow_pb2.ValidateWorkflowRequest(source=source))
    is_refused = error is not None and error.code() == grpc.StatusCode.INVALID_ARGUMENT
    checks.that(is_refused, "a bad workflow is INVALID_ARGUMENT")
    info = error and detail(error, error_details_pb2.ErrorInfo)
    checks.that(bool(info) and info.reason == "INVALID_WORKFLOW" and info.domain == "muster", "with an ErrorInfo")
    checks.that(bool(info) and info.metadata.get("line.0", "").isdigit(), "that has the line in the file")
    bad = error and detail(error, error_details_pb2.BadRequest)
    fields = [violation.field for violation in bad.field_violations] if bad else []
    checks.that(any(field.startswith("tasks.one") for field in fields), f"and a BadRequest with paths: {fields}")

    runs = stubs.run_service_pb2_grpc.RunServiceStub(channel)
    named = stubs.common_pb2.RunRef(workflow="never-applied", number=1)
    error = refused(runs.GetRun, stubs.run_service_pb2.GetRunRequest(run=named))
    info = error and detail(error, error_details_pb2.ErrorInfo)
    is_refused = error is not None and error.code() == grpc.StatusCode.NOT_FOUND
    checks.that(is_refused and bool(info) and info.reason == "RUN_NOT_FOUND", "an unknown run is RUN_NOT_FOUND")


def check_cluster(stubs, channel, checks):
    """Every master that the asked one names answers the same calls."""
    cluster_pb2 = stubs.cluster_service_pb2
    status = stubs.cluster_service_pb2_grpc.ClusterServiceStub(channel).GetClusterStatus(
        cluster_pb2.GetClusterStatusRequest(), timeout=10
    )
    checks.that(status.leader_id != 0 and len(status.members) >= 1, f"{len(status.members)} masters, one of them leads")
    for member in status.members:
        with grpc.insecure_channel(member.api_address) as other:
            runs = stubs.run_service_pb2_grpc.RunServiceStub(other)
            named = stubs.common_pb2.RunRef(workflow="from-python")
            found = runs.GetRun(stubs.run_service_pb2.GetRunRequest(run=named), timeout=10)
            checks.that(found.run.status == stubs.run_service_pb2.RUN_STATUS_SUCCEEDED, f"{member.name} knows the run")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--muster", help="path of the binary; a cluster is started with it")
    where.add_argument("--address", help="host:port of an API that is there")
    arguments = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder, cluster(arguments) as address:
        stubs = Stubs(folder)
        with grpc.insecure_channel(address) as channel:
            checks.that(wait_ready(channel), f"{address} becomes ready")
            check_health_and_reflection(channel, checks)
            check_run(stubs, channel, checks)
            check_approval(stubs, channel, checks)
            check_errors(stubs, channel, checks)
            check_cluster(stubs, channel, checks)
    if checks.failed:
        print(f"{checks.failed} checks failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
