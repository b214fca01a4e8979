;; A validator in text, for deeds that no compiler would make. What a test puts in place of the marks is all that it does
;; besides: its answers lie in memory that is zero, which reads as "no failure" and "accept".
(module
  (import "selvedge:plugin/types@0.1.0" "[resource-drop]request" (func $drop_request (param i32)))
  (import "selvedge:plugin/types@0.1.0" "[method]request.id" (func $id (param i32 i32)))
  (import "selvedge:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))
  (import "selvedge:plugin/tensors@0.1.0" "[method]tensor.ty" (func $tensor_type (param i32) (result i32)))
  (memory (export "memory") MEMORY)
  ;; Whether `cabi_realloc` does its deed, and where it has memory left.
  (global $armed (mut i32) (i32.const 0))
  (global $next (mut i32) (i32.const 65536))
  ;;DECLARATIONS
  (func (export "cabi_realloc") (param $at i32) (param $had i32) (param $align i32) (param $len i32) (result i32)
    (if (global.get $armed)
      (then
        ;;REALLOC
      ))
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get $len)))
    (local.get $at))
  (func (export "selvedge:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
    ;;CONFIGURE
    (i32.const 16))
  (func (export "selvedge:plugin/validator@0.1.0#validate") (param $request i32) (result i32)
    (local $i i32)
    ;;VALIDATE
    (call $drop_request (local.get $request))
    (i32.const 256))
  (func (export "cabi_post_selvedge:plugin/validator@0.1.0#validate") (param i32)
    ;;POST_RETURN
  ))
