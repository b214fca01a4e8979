;; A guest whose memory is the request's body and whose every result lies at address 0 of it: what the host lifts is what the
;; fuzzer wrote. The body's last byte says which import is called before that, with arguments that lie at address 64.
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
  (memory (export "memory") 16)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
  (func (export "selvedge:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32) (i32.const 4096))

  (func $word (param $place i32) (result i32) (i32.load (i32.add (i32.const 64) (i32.mul (local.get $place) (i32.const 4)))))

  (func $act (param $request i32)
    (local $len i32)
    (local.set $len (i32.wrap_i64 (call $body_len (local.get $request))))
    (call $read_body (local.get $request) (i64.const 0) (local.get $len) (i32.const 0xf0000))
    (block $none
      (block $parts (block $histogram (block $log (block $top_k (block $read (block $from_bytes
        (block $set_attribute (block $attribute (block $header
          (br_table $header $attribute $set_attribute $from_bytes $read $top_k $log $histogram $parts $none
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
        (i32.const 0xf0000)))
    (call $drop_request (local.get $request)))

  (func (export "selvedge:plugin/validator@0.1.0#validate") (param $request i32) (result i32)
    (call $act (local.get $request)) (i32.const 0))
  (func (export "selvedge:plugin/templater@0.1.0#render")
    (param $request i32) (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $act (local.get $request)) (i32.const 0))
  (func (export "selvedge:plugin/postprocessor@0.1.0#process")
    (param $request i32) (param i32 i32 i32 i32 i32 i32) (result i32)
    (call $act (local.get $request)) (i32.const 0)))
