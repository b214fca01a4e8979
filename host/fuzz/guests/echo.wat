;; A guest whose memory is the request's body and whose every result lies at address 0 of it: what the host lifts is what the
;; fuzzer wrote. The body's last byte says which import is called before that, with arguments that lie at address 64. Above 0xe0000 lies
;; what the fuzzer does not write: what the host hands over, from 0xf0000 on what imports and `open` answer, at 0xf1000 a store's
;; name and a tensor's shape.
(module
  (import "selvedge:plugin/types@0.1.0" "[resource-drop]request" (func $drop_request (param i32)))
  (import "selvedge:plugin/types@0.1.0" "[method]request.body-len" (func $body_len (param i32) (result i64)))
  (import "selvedge:plugin/types@0.1.0" "[method]request.read-body" (func $read_body (param i32 i64 i32 i32)))
  (import "selvedge:plugin/types@0.1.0" "[method]request.header" (func $header (param i32 i32 i32 i32)))
  (import "selvedge:plugin/types@0.1.0" "[method]request.attribute" (func $attribute (param i32 i32 i32 i32)))
  (import "selvedge:plugin/types@0.1.0" "[method]request.set-attribute"
    (func $set_attribute (param i32 i32 i32 i32 i32)))
  (import "selvedge:plugin/tensors@0.1.0" "[static]tensor.from-bytes"
    (func $from_bytes (param i32 i32 i32 i32 i32 i32)))
  (import "selvedge:plugin/tensors@0.1.0" "[method]tensor.read" (func $read (param i32 i64 i32 i32)))
  (import "selvedge:plugin/tensors@0.1.0" "[method]tensor.top-k" (func $top_k (param i32 i32 i32)))
  (import "selvedge:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))
  (import "selvedge:plugin/metrics@0.1.0" "histogram-record" (func $histogram (param i32 i32 f64)))
  (import "selvedge:plugin/uploads@0.1.0" "read-part" (func $read_part (param i32 i32 i64 i32 i32)))
  (import "selvedge:plugin/kv@0.1.0" "[static]store.open" (func $store (param i32 i32 i32)))
  (import "selvedge:plugin/kv@0.1.0" "[method]store.get" (func $get (param i32 i32 i32 i32)))
  (import "selvedge:plugin/kv@0.1.0" "[method]store.set" (func $set (param i32 i32 i32 i32 i32 i32 i64 i32)))
  (import "selvedge:plugin/kv@0.1.0" "[method]store.increment" (func $increment (param i32 i32 i32 i64 i32 i64 i32)))
  (import "selvedge:plugin/inference@0.1.0" "embed" (func $embed (param i32 i32 i32 i32 i32)))
  (import "selvedge:plugin/inference@0.1.0" "classify" (func $classify (param i32 i32 i32 i32 i32)))
  (import "selvedge:plugin/inference@0.1.0" "run" (func $run (param i32 i32 i32 i32 i32)))
  (import "selvedge:plugin/secrets@0.1.0" "get" (func $secret (param i32 i32 i32)))
  (import "[export]selvedge:plugin/stream-postprocessor@0.1.0" "[resource-new]processor"
    (func $new_processor (param i32) (result i32)))
  (import "[export]selvedge:plugin/decoder@0.1.0" "[resource-new]decoding" (func $new_decoding (param i32) (result i32)))
  (memory (export "memory") 16)
  (data (i32.const 0xf1000) "store")
  (data (i32.const 0xf1010) "\01\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0xe0000))
  (func (export "selvedge:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32) (i32.const 4096))

  (func $word (param $place i32) (result i32) (i32.load (i32.add (i32.const 64) (i32.mul (local.get $place) (i32.const 4)))))

  ;; A handle of the store that is granted.
  (func $opened (result i32)
    (call $store (i32.const 0xf1000) (i32.const 5) (i32.const 0xf0000))
    (call $handle))

  ;; The handle that an import answered, which may also have answered an error with 8 bytes in it; none is there but where it is asked for.
  (func $handle (result i32)
    (if (i32.load8_u (i32.const 0xf0000)) (then unreachable))
    (i32.load (i32.const 0xf0008)))

  ;; Puts a tensor of one byte into the list of tensors that `run` is given.
  (func $tensor
    (call $from_bytes (i32.const 1) (i32.const 0xf1010) (i32.const 1) (i32.const 0xf1010) (i32.const 1) (i32.const 0xf0000))
    (i32.store (i32.add (call $word (i32.const 2)) (i32.const 8)) (call $handle)))

  ;; Answers `open` with a handle.
  (func $answer (param $handle i32) (result i32)
    (i32.store (i32.const 0xf0100) (i32.const 0))
    (i32.store (i32.const 0xf0104) (local.get $handle))
    (i32.const 0xf0100))

  (func $act (param $request i32)
    (local $len i32)
    (local.set $len (i32.wrap_i64 (call $body_len (local.get $request))))
    (local.set $len (select (local.get $len) (i32.const 0x10000) (i32.lt_u (local.get $len) (i32.const 0x10000))))
    (call $read_body (local.get $request) (i64.const 0) (local.get $len) (i32.const 0xf0000))
    (memory.copy (i32.const 0) (i32.load (i32.const 0xf0000)) (local.get $len))
    (block $none
      (block $secret (block $run (block $classify (block $embed (block $increment (block $set (block $get
      (block $parts (block $histogram (block $log (block $top_k (block $read (block $from_bytes
        (block $set_attribute (block $attribute (block $header
          (br_table $header $attribute $set_attribute $from_bytes $read $top_k $log $histogram $parts
            $get $set $increment $embed $classify $run $secret $none
            (select (i32.load8_u (i32.sub (local.get $len) (i32.const 1))) (i32.const 255) (local.get $len))))
          (call $header (local.get $request) (call $word (i32.const 0)) (call $word (i32.const 1)) (i32.const 0xf0000))
          (br $none))
          (call $attribute (local.get $request) (call $word (i32.const 0)) (call $word (i32.const 1)) (i32.const 0xf0000))
          (br $none))
        (call $set_attribute (local.get $request) (call $word (i32.const 0)) (call $word (i32.const 1))
          (call $word (i32.const 2)) (call $word (i32.const 3)))
        (br $none))
        (call $from_bytes (call $word (i32.const 0)) (call $word (i32.const 1)) (call $word (i32.const 2))
          (call $word (i32.const 3)) (call $word (i32.const 4)) (i32.const 0xf0000))
        (br $none))
        (call $read (call $word (i32.const 0)) (i64.load (i32.const 72)) (call $word (i32.const 1)) (i32.const 0xf0000))
        (br $none))
        (call $top_k (call $word (i32.const 0)) (call $word (i32.const 1)) (i32.const 0xf0000))
        (br $none))
        (call $log (call $word (i32.const 0)) (call $word (i32.const 1)) (call $word (i32.const 2))
          (call $word (i32.const 3)) (call $word (i32.const 4)))
        (br $none))
        (call $histogram (call $word (i32.const 0)) (call $word (i32.const 1)) (f64.load (i32.const 72)))
        (br $none))
      (call $read_part (local.get $request) (call $word (i32.const 0)) (i64.load (i32.const 72)) (call $word (i32.const 1))
        (i32.const 0xf0000))
        (br $none))
        (call $get (call $opened) (call $word (i32.const 0)) (call $word (i32.const 1)) (i32.const 0xf0000))
        (br $none))
        (call $set (call $opened) (call $word (i32.const 0)) (call $word (i32.const 1)) (call $word (i32.const 2))
          (call $word (i32.const 3)) (call $word (i32.const 4)) (i64.load (i32.const 88)) (i32.const 0xf0000))
        (br $none))
        (call $increment (call $opened) (call $word (i32.const 0)) (call $word (i32.const 1)) (i64.load (i32.const 72))
          (call $word (i32.const 4)) (i64.load (i32.const 88)) (i32.const 0xf0000))
        (br $none))
        (call $embed (call $word (i32.const 0)) (call $word (i32.const 1)) (call $word (i32.const 2)) (call $word (i32.const 3))
          (i32.const 0xf0000))
        (br $none))
        (call $classify (call $word (i32.const 0)) (call $word (i32.const 1)) (call $word (i32.const 2)) (call $word (i32.const 3))
          (i32.const 0xf0000))
        (br $none))
        (call $tensor)
        (call $run (call $word (i32.const 0)) (call $word (i32.const 1)) (call $word (i32.const 2)) (call $word (i32.const 3))
          (i32.const 0xf0000))
        (br $none))
      (call $secret (call $word (i32.const 0)) (call $word (i32.const 1)) (i32.const 0xf0000)))
    (call $drop_request (local.get $request)))

  (func (export "selvedge:plugin/validator@0.1.0#validate") (param $request i32) (result i32)
    (call $act (local.get $request)) (i32.const 0))
  (func (export "selvedge:plugin/templater@0.1.0#render")
    (param $request i32) (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $act (local.get $request)) (i32.const 0))
  (func (export "selvedge:plugin/postprocessor@0.1.0#process")
    (param $request i32) (param i32 i32 i32 i32 i32 i32) (result i32)
    (call $act (local.get $request)) (i32.const 0))

  (func (export "selvedge:plugin/stream-postprocessor@0.1.0#[static]processor.open") (param $request i32) (result i32)
    (call $act (local.get $request)) (call $answer (call $new_processor (i32.const 1))))
  (func (export "selvedge:plugin/stream-postprocessor@0.1.0#[method]processor.push") (param i32 i32 i32) (result i32)
    (i32.const 0))
  (func (export "selvedge:plugin/stream-postprocessor@0.1.0#[method]processor.finish") (param i32 i32 i32 i32) (result i32)
    (i32.const 0))
  (func (export "selvedge:plugin/decoder@0.1.0#[static]decoding.open") (param $request i32) (param i32) (result i32)
    (call $act (local.get $request)) (call $answer (call $new_decoding (i32.const 1))))
  (func (export "selvedge:plugin/decoder@0.1.0#[method]decoding.next") (param i32 i32 i32) (result i32) (i32.const 0)))
