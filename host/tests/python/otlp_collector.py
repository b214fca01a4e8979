"""Takes spans by OTLP, with OpenTelemetry's own protocol files; writes its port, then each span as a line of JSON.

otlp_collector.py [--http] [HEADER]    over gRPC or over HTTP; a header that each export must bear, as `name=value`
"""

import json
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

by_http = "--http" in sys.argv
wanted = dict(argument.split("=", 1) for argument in sys.argv[1:] if argument != "--http")


def plain(value):
    return getattr(value, value.WhichOneof("value"))


def told(span, service):
    return {
        "service": service,
        "name": span.name,
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "kind": span.kind,
        "status": span.status.code,
        "from": span.start_time_unix_nano,
        "to": span.end_time_unix_nano,
        "attributes": {item.key: plain(item.value) for item in span.attributes},
        "events": len(span.events),
        "links": [{"trace": link.trace_id.hex(), "span": link.span_id.hex()} for link in span.links],
    }


def may(headers):
    return all(headers.get(name) == value for name, value in wanted.items())


def take(request):
    for resource in request.resource_spans:
        attributes = {item.key: plain(item.value) for item in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                print(json.dumps(told(span, attributes.get("service.name"))), flush=True)
    return trace_service_pb2.ExportTraceServiceResponse()


class OverGrpc(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        if not may(dict(context.invocation_metadata())):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a header is missing")
        return take(request)


class OverHttp(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/traces":
            self.answer(404, b"")
        elif self.headers["content-type"] != "application/x-protobuf":
            self.answer(415, b"")
        elif not may(self.headers):
            self.answer(401, b"")
        else:
            taken = take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.answer(200, taken.SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said):
        pass


if by_http:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OverHttp)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
else:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(OverGrpc(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
print(port, flush=True)
# It ends with whoever started it.
sys.stdin.read()
if not by_http:
    server.stop(None)
