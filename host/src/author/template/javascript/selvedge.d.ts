// The interfaces of `wit/` as JavaScript sees them, for editors. Where an interface has an error, a function of a plugin throws it as it
// is: `throw` a `Selvedge.Failure`. What an import throws is an `Error` whose `payload` is the interface's.

declare namespace Selvedge {
  /** Why a plugin gave up: for the operator, never for the client. `code` is kebab-case. */
  interface Failure { code: string; message: string; retryable: boolean }

  type LocItem = { tag: "key"; val: string } | { tag: "index"; val: number };

  /** One thing wrong with a request; `loc` leads to it from the body's root. */
  interface Problem { kind: string; loc: LocItem[]; msg: string }

  /** An answer to the client in place of a result. `status` is 400 to 499 or 503; `problems` is empty unless it is 422. */
  interface Rejection { status: number; code: string; message: string; problems: Problem[] }

  /** One request. Its data stays on the host: only what is read is copied. It is of use until the function that was given it returns. */
  interface Request {
    id(): string;
    endpoint(): string;
    /** `endpoint`, `openai`, `oip` or `ollama`. */
    dialect(): string;
    /** Id of the key that authenticated the request. */
    principal(): string | null;
    /** All values of a header that the manifest wants; of others none. */
    header(name: string): Uint8Array[];
    bodyLen(): number;
    readBody(offset: number, len: number): Uint8Array;
    /** The whole body, where it is UTF-8 and within the limit. */
    bodyText(): string | null;
    /** What an earlier plugin left under this key. */
    attribute(key: string): string | null;
    setAttribute(key: string, value: string): void;
  }

  interface Message { role: string; content: string }
  interface Label { name: string; score: number }
  interface Usage { promptTokens: number; completionTokens: number }
  type FinishReason = "stop" | "length" | "content-filter" | "tool-calls" | "cancelled" | "error";

  type ElementType =
    | "boolean" | "uint8" | "uint16" | "uint32" | "uint64" | "int8" | "int16" | "int32" | "int64"
    | "float16" | "bfloat16" | "float32" | "float64" | "text";

  type TensorError =
    | { tag: "bad-shape"; val: string } | { tag: "out-of-range" } | { tag: "unsupported" } | { tag: "too-large"; val: number };

  /** A tensor on the host. Row-major, little-endian. */
  interface Tensor {
    shape(): number[];
    ty(): ElementType;
    read(offset: number, len: number): Uint8Array;
    readF32(offset: number, len: number): number[];
    /** Over the last axis: pairs of index and value, best first. */
    topK(k: number): [number, number][][];
    [Symbol.dispose](): void;
  }

  /** Name as in the model's signature. */
  type NamedTensor = [string, Tensor];

  /** Every plugin exports one as `lifecycle`. */
  interface Lifecycle {
    /** Runs once; its memory is snapshotted, and every request starts from there. `config` is JSON. */
    configure(config: string): void;
  }

  type Verdict =
    | { tag: "accept" }
    | { tag: "amend"; val: { body: Uint8Array | null; attributes: [string, string][] } }
    | { tag: "reject"; val: Rejection };

  interface Validator { validate(request: Request): Verdict }

  type Prompt =
    | { tag: "text"; val: string } | { tag: "texts"; val: string[] } | { tag: "messages"; val: Message[] }
    | { tag: "messages-json"; val: string } | { tag: "token-ids"; val: number[] } | { tag: "tensors"; val: NamedTensor[] };

  /** `params` is a JSON object with OpenAI's names, or null. */
  interface Rendered { prompt: Prompt; params: string | null }

  interface Templater { render(request: Request, soFar: Rendered | null): Rendered }

  type Output =
    | { tag: "text"; val: string[] } | { tag: "labels"; val: Label[][] } | { tag: "embeddings"; val: number[][] }
    | { tag: "tensors"; val: NamedTensor[] } | { tag: "json"; val: string };

  interface Completion { output: Output; finish: FinishReason; usage: Usage }

  type Action = { tag: "pass" } | { tag: "replace"; val: Output } | { tag: "refuse"; val: Rejection };

  interface Postprocessor { process(request: Request, done: Completion): Action }

  interface Chunk { choice: number; text: string }

  type StreamAction =
    | { tag: "pass" } | { tag: "emit"; val: Chunk[] } | { tag: "stop"; val: [Chunk[], FinishReason] };

  /** The state of one stream. */
  interface Processor {
    push(chunks: Chunk[]): StreamAction;
    /** Called once, at the end; what it returns is sent last. */
    finish(reason: FinishReason, usage: Usage): Chunk[];
  }

  interface StreamPostprocessor { Processor: { open(request: Request): Processor } }

  interface Event {
    id: string; requestId: string; endpoint: string; model: string; dialect: string; principal: string | null;
    timeMs: number; status: number; finish: FinishReason | null; usage: Usage | null;
    timings: { stage: string; plugin: string; micros: number }[];
    attributes: [string, string][];
    requestBody: Uint8Array | null; responseBody: Uint8Array | null;
  }

  /** A failure has the events given again; the same event may come twice. */
  interface Observer { observe(events: Event[]): void }
}

declare module "selvedge:plugin/logging@0.1.0" {
  type Level = "trace" | "debug" | "info" | "warn" | "error";
  const logging: { log(level: Level, message: string, fields: [string, string][]): void };
  export default logging;
}

declare module "selvedge:plugin/metrics@0.1.0" {
  /** Only names that the manifest declares are recorded. */
  const metrics: { counterAdd(name: string, value: number): void; histogramRecord(name: string, value: number): void };
  export default metrics;
}

declare module "selvedge:plugin/tensors@0.1.0" {
  const tensors: {
    Tensor: {
      fromBytes(ty: Selvedge.ElementType, shape: number[], data: Uint8Array): Selvedge.Tensor;
      fromF32(shape: number[], data: number[]): Selvedge.Tensor;
      fromI64(shape: number[], data: number[]): Selvedge.Tensor;
    };
  };
  export default tensors;
}

declare module "selvedge:plugin/uploads@0.1.0" {
  interface Part { name: string; fileName: string | null; mediaType: string | null; size: number }
  const uploads: {
    parts(request: Selvedge.Request): Part[];
    readPart(request: Selvedge.Request, part: number, offset: number, len: number): Uint8Array;
  };
  export default uploads;
}

// What follows is granted: `import` it in `wit/plugin.wit` too.

declare module "selvedge:plugin/secrets@0.1.0" {
  /** Throws `denied`, `not-found` or `unavailable`, as the `payload`. */
  const secrets: { get(name: string): Uint8Array };
  export default secrets;
}

declare module "selvedge:plugin/journals@0.1.0" {
  const journals: {
    append(journal: string, lines: string[], rotation: { fileBytesMax: number; filesMax: number }): void;
  };
  export default journals;
}

declare module "selvedge:plugin/kv@0.1.0" {
  interface Store {
    get(key: string): Uint8Array | null;
    set(key: string, value: Uint8Array, ttlMs: number | null): void;
    delete(key: string): void;
    increment(key: string, delta: number, ttlMs: number | null): number;
    [Symbol.dispose](): void;
  }
  const kv: { Store: { open(name: string): Store } };
  export default kv;
}

declare module "selvedge:plugin/inference@0.1.0" {
  const inference: {
    embed(model: string, texts: string[]): number[][];
    classify(model: string, texts: string[]): Selvedge.Label[][];
    run(model: string, inputs: Selvedge.NamedTensor[]): Selvedge.NamedTensor[];
  };
  export default inference;
}
