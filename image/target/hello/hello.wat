;; hello: reads its whole input, writes its bytes in reverse order, and names its machine.
;;
;; A character of several bytes is not preserved. Nothing is trimmed, so a line break at the end of the
;; input is at the start of the output. One line follows:
;;
;;   ran on amd64, booted 2025.11.12, as ed25519:31...
;;
;; The three values are the variables of the environment, which Plasma sets; a missing one is shown as
;; `unknown`. `make hello` assembles this file, and hello.json pins the sha256 of the result.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param $fd i32) (param $vectors i32) (param $count i32) (param $done i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $vectors i32) (param $count i32) (param $done i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param $count i32) (param $bytes i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get"
    (func $environ_get (param $pointers i32) (param $bytes i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param $status i32)))

  ;; The first page, and where the input begins: it takes as many pages more as it needs.
  ;;   0     one vector (where, how many), 8 what a call did, 16 and 20 the size of the environment
  ;;   256   words
  ;;   4096  pointers into the environment (1024 of them), 8192 the environment itself
  (memory (export "memory") 1)
  (global $vector i32 (i32.const 0))
  (global $done i32 (i32.const 8))
  (global $names i32 (i32.const 16))
  (global $bytes i32 (i32.const 20))
  (global $pointers i32 (i32.const 4096))
  (global $environment i32 (i32.const 8192))
  (global $input i32 (i32.const 65536))

  (data (i32.const 256) "\nran on ")        ;; 8
  (data (i32.const 272) ", booted ")        ;; 9
  (data (i32.const 288) ", as ")            ;; 5
  (data (i32.const 304) "\n")               ;; 1
  (data (i32.const 320) "unknown")          ;; 7
  (data (i32.const 336) "PHASE_ARCH=")      ;; 11
  (data (i32.const 352) "PHASE_VERSION=")   ;; 14
  (data (i32.const 368) "PHASE_NODE=")      ;; 11

  (func (export "_start")
    (local $length i32)
    (local.set $length (call $read))
    (call $reverse (global.get $input) (local.get $length))
    (call $write (global.get $input) (local.get $length))
    (call $learn)
    (call $write (i32.const 256) (i32.const 8))
    (call $write_value (i32.const 336) (i32.const 11))
    (call $write (i32.const 272) (i32.const 9))
    (call $write_value (i32.const 352) (i32.const 14))
    (call $write (i32.const 288) (i32.const 5))
    (call $write_value (i32.const 368) (i32.const 11))
    (call $write (i32.const 304) (i32.const 1)))

  ;; Exit with the number of an error, if there is one.
  (func $check (param $error i32)
    (if (local.get $error) (then (call $proc_exit (local.get $error)))))

  ;; Read stdin to its end; return the number of bytes.
  (func $read (result i32)
    (local $end i32)
    (local $room i32)
    (local.set $end (global.get $input))
    (loop $more
      (local.set $room (i32.sub (i32.mul (memory.size) (i32.const 65536)) (local.get $end)))
      (if (i32.eqz (local.get $room))
        (then
          ;; Grow the memory by a page; trap if that fails.
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
          (br $more)))
      (i32.store (global.get $vector) (local.get $end))
      (i32.store offset=4 (global.get $vector) (local.get $room))
      (call $check
        (call $fd_read (i32.const 0) (global.get $vector) (i32.const 1) (global.get $done)))
      (local.set $end (i32.add (local.get $end) (i32.load (global.get $done))))
      (br_if $more (i32.load (global.get $done))))
    (i32.sub (local.get $end) (global.get $input)))

  ;; Reverse bytes in place.
  (func $reverse (param $first i32) (param $length i32)
    (local $last i32)
    (local $kept i32)
    (local.set $last (i32.sub (i32.add (local.get $first) (local.get $length)) (i32.const 1)))
    (block $met
      (loop $next
        (br_if $met (i32.ge_s (local.get $first) (local.get $last)))
        (local.set $kept (i32.load8_u (local.get $first)))
        (i32.store8 (local.get $first) (i32.load8_u (local.get $last)))
        (i32.store8 (local.get $last) (local.get $kept))
        (local.set $first (i32.add (local.get $first) (i32.const 1)))
        (local.set $last (i32.sub (local.get $last) (i32.const 1)))
        (br $next))))

  ;; Write bytes to stdout; repeat until all are written.
  (func $write (param $from i32) (param $length i32)
    (block $written
      (loop $more
        (br_if $written (i32.eqz (local.get $length)))
        (i32.store (global.get $vector) (local.get $from))
        (i32.store offset=4 (global.get $vector) (local.get $length))
        (call $check
          (call $fd_write (i32.const 1) (global.get $vector) (i32.const 1) (global.get $done)))
        (local.set $from (i32.add (local.get $from) (i32.load (global.get $done))))
        (local.set $length (i32.sub (local.get $length) (i32.load (global.get $done))))
        (br $more))))

  ;; Read the environment; one that does not fit counts as empty.
  (func $learn
    (call $check (call $environ_sizes_get (global.get $names) (global.get $bytes)))
    (if
      (i32.or
        (i32.gt_u (i32.load (global.get $names)) (i32.const 1024))
        (i32.gt_u (i32.load (global.get $bytes)) (i32.const 57344)))
      (then (i32.store (global.get $names) (i32.const 0)) (return)))
    (call $check (call $environ_get (global.get $pointers) (global.get $environment))))

  ;; Write the value of a variable by its name, such as PHASE_ARCH=, in the environment.
  (func $write_value (param $name i32) (param $length i32)
    (local $index i32)
    (local $entry i32)
    (block $nowhere
      (loop $next
        (br_if $nowhere (i32.ge_u (local.get $index) (i32.load (global.get $names))))
        (local.set $entry
          (i32.load
            (i32.add (global.get $pointers) (i32.mul (local.get $index) (i32.const 4)))))
        (if (call $starts (local.get $entry) (local.get $name) (local.get $length))
          (then
            (local.set $entry (i32.add (local.get $entry) (local.get $length)))
            (call $write (local.get $entry) (call $span (local.get $entry)))
            (return)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next)))
    (call $write (i32.const 320) (i32.const 7)))

  ;; Return whether a text starts with a name. The text ends in 0, which no name contains, so nothing
  ;; beyond its end is read.
  (func $starts (param $text i32) (param $name i32) (param $length i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $length)) (then (return (i32.const 1))))
      (if
        (i32.ne (i32.load8_u (local.get $text)) (i32.load8_u (local.get $name)))
        (then (return (i32.const 0))))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (local.set $name (i32.add (local.get $name) (i32.const 1)))
      (local.set $length (i32.sub (local.get $length) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; Return the number of bytes of a text before its 0.
  (func $span (param $text i32) (result i32)
    (local $length i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (i32.load8_u (i32.add (local.get $text) (local.get $length)))))
        (local.set $length (i32.add (local.get $length) (i32.const 1)))
        (br $next)))
    (local.get $length)))
