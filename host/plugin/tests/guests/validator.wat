;; A validator in text: what the tests put in place of the marks is all that it does. Its results lie in memory that is
;; zero, which reads as "no failure" and "accept".
(module
  (import "selvedge:plugin/types@0.1.0" "[resource-drop]request" (func $drop_request (param i32)))
  (memory (export "memory") 1)
  ;;DECLARATIONS
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "selvedge:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
    ;;CONFIGURE
    (i32.const 16))
  (func (export "selvedge:plugin/validator@0.1.0#validate") (param $request i32) (result i32)
    (if ;;VALIDATE

      (then unreachable))
    (call $drop_request (local.get $request))
    (i32.const 256)))
