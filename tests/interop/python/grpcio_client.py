"""grpcio with stubs that it generates from the project's own .proto file, and reflection as grpcurl uses it.

Imports nothing of the project: its descriptors and ours may not meet in one process.
"""

import importlib
import json
import os
import sys
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory
from grpc_tools import protoc
from grpclib.reflection.v1 import reflection_pb2

from tests.interop.python.cases import case, ends, main, query

PROTO = Path(__file__).resolve().parents[3] / "coordinator" / "proto"
ADDRESS = os.environ["INTEROP_GRPC"]
EMPTY = empty_pb2.Empty()
WAITING = {"WaitResult": True}


def generated() -> tuple[Any, Any]:
    """Return the modules dtmgimp_pb2 and dtmgimp_pb2_grpc."""
    with tempfile.TemporaryDirectory() as folder:
        include = Path(protoc.__file__).parent / "_proto"
        arguments = [
            *(
                "protoc",
                f"-I{PROTO}",
                f"-I{include}",
                f"--python_out={folder}",
                f"--grpc_python_out={folder}",
            ),
            "dtmgimp.proto",
        ]
        if protoc.main(arguments) != 0:
            sys.exit("protoc failed")
        sys.path.insert(0, folder)
        return importlib.import_module("dtmgimp_pb2"), importlib.import_module("dtmgimp_pb2_grpc")


pb, pb_grpc = generated()
channel = grpc.insecure_channel(ADDRESS)
dtm = pb_grpc.DtmStub(channel)


class Branches(grpc.GenericRpcHandler):
    """A branch service of any method: notes what it is asked, and says what it was told to say."""

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = defaultdict(list)
        self.payloads: dict[str, list[bytes]] = defaultdict(list)
        self.says: dict[tuple[str, str], list[grpc.StatusCode]] = {}

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        about = dict(context.invocation_metadata())
        gid, call = about["dtm-gid"], f"{about['dtm-branch_id']} {about['dtm-op']}"
        self.asked[gid].append(call)
        self.payloads[gid].append(payload)
        if left := self.says.get((gid, call)):
            context.abort(left.pop(0), "told to")
        return b""

    def calls(self, gid: str) -> str:
        return ", ".join(self.asked[gid])


branches = Branches()
server = grpc.server(ThreadPoolExecutor(16), handlers=(branches,))
URL = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}/any.Service/Do"


def new_gid() -> str:
    gid: str = dtm.NewGid(EMPTY, timeout=10).Gid
    assert gid
    return gid


def request(gid: str, kind: str, **more: Any) -> Any:
    return pb.DtmRequest(Gid=gid, TransType=kind, **more)


def saga(gid: str, **more: Any) -> Any:
    steps = json.dumps([{"action": URL, "compensate": URL}] * 2)
    return request(gid, "saga", Steps=steps, BinPayloads=[b"\x00\xff1", b"2"], TransOptions=WAITING, **more)


def refused(call: Callable[..., Any], asked: Any, code: grpc.StatusCode, *words: str) -> None:
    """Check the status code and the text of an error."""
    try:
        call(asked, timeout=10)
    except grpc.RpcError as error:
        assert error.code() is code, f"{error.code()}: {error.details()}"
        for word in words:
            assert word in error.details(), error.details()
    else:
        raise AssertionError(f"expected {code}")


@case("saga", "grpc")
def saga_succeeds() -> None:
    gid = new_gid()
    dtm.Submit(saga(gid), timeout=10)
    ends(
        gid,
        "succeed",
        "01 compensate prepared, 01 action succeed, 02 compensate prepared, 02 action succeed",
    )
    assert branches.calls(gid) == "01 action, 02 action"
    assert branches.payloads[gid] == [b"\x00\xff1", b"2"], "payload bytes are sent as they are"


@case("saga: rolled back", "grpc")
def saga_rolled_back() -> None:
    gid = new_gid()
    branches.says[gid, "02 action"] = [grpc.StatusCode.ABORTED]
    refused(dtm.Submit, saga(gid), grpc.StatusCode.ABORTED, "told to", "FAILURE")
    ends(
        gid,
        "failed",
        "01 compensate succeed, 01 action succeed, 02 compensate succeed, 02 action failed",
    )
    assert branches.calls(gid) == "01 action, 02 action, 02 compensate, 01 compensate"
    refused(dtm.Submit, saga(gid), grpc.StatusCode.ABORTED, "current status 'failed', cannot sumbmit.")


def registered(gid: str) -> None:
    for branch_id in ("01", "02"):
        dtm.RegisterBranch(
            pb.DtmBranchRequest(
                Gid=gid,
                TransType="tcc",
                BranchID=branch_id,
                BusiPayload=b"pay",
                Data={"confirm": URL, "cancel": URL},
            ),
            timeout=10,
        )


@case("tcc", "grpc")
def tcc_confirmed() -> None:
    gid = new_gid()
    branches.says[gid, "01 confirm"] = [grpc.StatusCode.FAILED_PRECONDITION]
    dtm.Prepare(request(gid, "tcc"), timeout=10)
    registered(gid)
    asked = request(gid, "tcc", TransOptions=WAITING)
    refused(dtm.Submit, asked, grpc.StatusCode.FAILED_PRECONDITION, "ONGOING")
    rows = "01 cancel prepared, 01 confirm succeed, 02 cancel prepared, 02 confirm succeed"
    ends(gid, "succeed", rows, nudged=True)
    assert branches.calls(gid) == "02 confirm, 01 confirm, 01 confirm"
    late = pb.DtmBranchRequest(Gid=gid, TransType="tcc", BranchID="03", Data={"confirm": URL, "cancel": URL})
    words = f"no trans with gid: {gid} status: prepared found"
    refused(dtm.RegisterBranch, late, grpc.StatusCode.ABORTED, words)


@case("tcc: aborted", "grpc")
def tcc_aborted() -> None:
    gid = new_gid()
    dtm.Prepare(request(gid, "tcc"), timeout=10)
    registered(gid)
    dtm.Abort(request(gid, "tcc", TransOptions=WAITING, RollbackReason="changed my mind"), timeout=10)
    ends(gid, "failed", "01 cancel succeed, 01 confirm prepared, 02 cancel succeed, 02 confirm prepared")
    assert query(gid)["transaction"]["rollback_reason"] == "changed my mind"
    refused(dtm.Abort, request(new_gid(), "tcc"), grpc.StatusCode.INTERNAL, "no TransGlobal with gid")


@case("xa", "grpc")
def xa_committed() -> None:
    gid = new_gid()
    dtm.Prepare(request(gid, "xa"), timeout=10)
    branch = pb.DtmBranchRequest(Gid=gid, TransType="xa", BranchID="01", Data={"url": URL})
    dtm.RegisterBranch(branch, timeout=10)
    dtm.Submit(request(gid, "xa", TransOptions=WAITING), timeout=10)
    ends(gid, "succeed", "01 rollback prepared, 01 commit succeed")
    assert branches.calls(gid) == "01 commit"


@case("msg and topic", "grpc")
def msg_to_a_topic() -> None:
    gid, topic = new_gid(), f"topic-{uuid.uuid4().hex}"
    other = URL.replace("127.0.0.1", "localhost")
    dtm.Subscribe(pb.DtmTopicRequest(Topic=topic, URL=URL, Remark="one"), timeout=10)
    dtm.Subscribe(pb.DtmTopicRequest(Topic=topic, URL=other), timeout=10)
    again = pb.DtmTopicRequest(Topic=topic, URL=other)
    refused(dtm.Subscribe, again, grpc.StatusCode.UNKNOWN, "this url exists")
    dtm.Unsubscribe(again, timeout=10)
    steps = json.dumps([{"action": f"topic://{topic}"}])
    asked = request(gid, "msg", Steps=steps, BinPayloads=[b"news"], QueryPrepared=URL, TransOptions=WAITING)
    dtm.Prepare(asked, timeout=10)
    dtm.Submit(asked, timeout=10)
    ends(gid, "succeed", "01 action succeed")
    assert branches.payloads[gid] == [b"news"]
    dtm.DeleteTopic(pb.DtmTopicRequest(Topic=topic), timeout=10)
    asked.Gid = new_gid()
    refused(dtm.Submit, asked, grpc.StatusCode.INTERNAL, "topic not found")


@case("workflow: progress", "grpc")
def workflow_progress() -> None:
    gid = new_gid()
    data = json.dumps({"name": "w", "data": "e30="})
    asked = request(gid, "workflow", CustomedData=data, QueryPrepared=URL)
    started = dtm.PrepareWorkflow(asked, timeout=10)
    assert (started.Transaction.Status, len(started.Progresses)) == ("prepared", 0)
    step = pb.DtmBranchRequest(
        Gid=gid,
        TransType="workflow",
        BranchID="01",
        BusiPayload=b"\xfe result",
        Data={"op": "action", "status": "succeed"},
    )
    dtm.RegisterBranch(step, timeout=10)
    (progress,) = dtm.PrepareWorkflow(asked, timeout=10).Progresses
    assert (progress.BranchID, progress.Op, progress.Status) == ("01", "action", "succeed")
    assert progress.BinData == b"\xfe result"
    asked.ReqExtra.update({"status": "succeed", "result": "ZG9uZQ=="})
    dtm.Submit(asked, timeout=10)
    ends(gid, "succeed", "01 action succeed")
    refused(dtm.Submit, asked, grpc.StatusCode.INTERNAL)


@case("errors: status codes", "grpc")
def errors() -> None:
    gid = new_gid()
    refused(dtm.Submit, request(gid, "magic"), grpc.StatusCode.INTERNAL)
    refused(dtm.Abort, request(gid, "tcc"), grpc.StatusCode.INTERNAL, f"no TransGlobal with gid: {gid} found")
    dtm.Prepare(request(gid, "tcc"), timeout=10)
    dtm.Prepare(request(gid, "tcc"), timeout=10)
    branch = pb.DtmBranchRequest(
        Gid=gid, TransType="magic", BranchID="01", Data={"confirm": URL, "cancel": URL}
    )
    refused(dtm.RegisterBranch, branch, grpc.StatusCode.UNKNOWN, "unknow trans type: magic")
    branch.TransType = "tcc"
    dtm.RegisterBranch(branch, timeout=10)
    branch.Data["confirm"] += "Other"
    refused(dtm.RegisterBranch, branch, grpc.StatusCode.UNKNOWN)
    refused(dtm.Subscribe, pb.DtmTopicRequest(URL=URL), grpc.StatusCode.UNKNOWN, "empty topic")
    refused(dtm.Subscribe, pb.DtmTopicRequest(Topic="t"), grpc.StatusCode.UNKNOWN, "empty url")
    nobody = pb.DtmTopicRequest(Topic=f"topic-{uuid.uuid4().hex}", URL=URL)
    refused(dtm.Unsubscribe, nobody, grpc.StatusCode.UNKNOWN, "no such a topic")


def reflect(version: str, **question: Any) -> Any:
    """Ask one question over a reflection stream; both versions have the same messages."""
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return next(ask(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=10))


def files(version: str, symbol: str) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """Return the file that defines the symbol, after those that it imports."""
    answer = reflect(version, file_containing_symbol=symbol)
    for data in answer.file_descriptor_response.file_descriptor_proto:
        yield descriptor_pb2.FileDescriptorProto.FromString(data)


def reflection(version: str) -> None:
    services = reflect(version, list_services="").list_services_response.service
    assert "dtmgimp.Dtm" in [service.name for service in services]
    pool = descriptor_pool.DescriptorPool()
    known = {"google/protobuf/empty.proto"}
    pool.AddSerializedFile(empty_pb2.DESCRIPTOR.serialized_pb)
    for file in files(version, "dtmgimp.Dtm"):
        if file.name not in known:
            pool.Add(file)
    method = pool.FindServiceByName("dtmgimp.Dtm").FindMethodByName("NewGid")
    reply = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/dtmgimp.Dtm/NewGid",
        request_serializer=empty_pb2.Empty.SerializeToString,
        response_deserializer=reply.FromString,
    )
    assert call(EMPTY, timeout=10).Gid


@case("reflection v1alpha, as grpcurl", "grpc")
def reflection_v1alpha() -> None:
    reflection("v1alpha")


@case("reflection v1, as grpcurl", "grpc")
def reflection_v1() -> None:
    reflection("v1")


if __name__ == "__main__":
    server.start()
    main()
    server.stop(None).wait()
    channel.close()
