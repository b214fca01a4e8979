"""Takes spans by OTLP over gRPC, with OpenTelemetry's own protocol files; writes its port, then each span as a line of JSON.

otlp_collector.py [HEADER]    a header that each export must bear, as `name=value`
"""

import json
import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

wanted = dict(argument.split("=", 1) for argument in sys.argv[1:])


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
    }


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        metadata = dict(context.invocation_metadata())
        if any(metadata.get(name) != value for name, value in wanted.items()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a header is missing")
        for resource in request.resource_spans:
            attributes = {item.key: plain(item.value) for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    print(json.dumps(told(span, attributes.get("service.name"))), flush=True)
        return trace_service_pb2.ExportTraceServiceResponse()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
# It ends with whoever started it.
sys.stdin.read()
server.stop(None)
