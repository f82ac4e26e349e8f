;; Joins a guest to the host: the host's whole blocks of text on one side, the guest's lists
;; of lines on the other.
;;
;; A list of bytes costs a host that calls a component through Wasmtime's C interface some
;; 100 ns for each byte, and a string next to nothing, if it is ASCII.  So text crosses as one
;; string, and is cut into lines and put together again here, in machine code.  It is itself
;; after the character 0; or, if it has bytes that are not ASCII, it is in hexadecimal, two
;; small digits a byte, after the character 2.
;;
;; The guest takes the place of the first component below when the two are put together.
;; A transform is known to the host by its number in this component's table of handles.
(component
  (component $guest)
  (instance $instance (instantiate $guest))
  (alias export $instance "cipherecho:plugin/cipher@1.0.0" (instance $cipher))
  (alias export $cipher "transform" (type $transform))
  (alias export $cipher "[static]transform.start" (func $start))
  (alias export $cipher "[method]transform.code" (func $code))
  (alias export $cipher "[method]transform.copy" (func $copy))

  ;; Memory: 0 to 63 is for what functions return, and from 64 on everything is handed out
  ;; upwards and taken back at once, when a call is over.
  (core module $memory
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const 64))

    (func $allocate (export "allocate") (param $size i32) (result i32)
      (local $at i32)
      (local $end i64)
      (local $lacking i64)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (local.set $end
        (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get $size))))
      (local.set $lacking
        (i64.sub (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))))
      (if (i64.gt_s (local.get $lacking) (i64.const 0))
        (then
          (if (i64.gt_s (local.get $end) (i64.const 0x7fffffff)) (then unreachable))
          (if (i32.eq (i32.const -1)
                (memory.grow
                  (i32.wrap_i64
                    (i64.shr_u (i64.add (local.get $lacking) (i64.const 65535)) (i64.const 16)))))
            (then unreachable))))
      (global.set $top (i32.wrap_i64 (local.get $end)))
      (local.get $at))

    (func (export "realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32)
      (result i32)
      (local $at i32)
      (if (i32.le_u (local.get $size) (local.get $had)) (then (return (local.get $old))))
      (local.set $at (call $allocate (local.get $size)))
      (memory.copy (local.get $at) (local.get $old) (local.get $had))
      (local.get $at))

    (func (export "free") (global.set $top (i32.const 64))))

  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $bytes))
  (alias core export $memory "realloc" (core func $realloc))

  (core func $guest-start
    (canon lower (func $start) string-encoding=utf8 (memory $bytes) (realloc $realloc)))
  (core func $guest-code
    (canon lower (func $code) string-encoding=utf8 (memory $bytes) (realloc $realloc)))
  (core func $guest-copy (canon lower (func $copy)))
  (core func $drop (canon resource.drop $transform))

  (core module $adapter
    (import "memory" "memory" (memory 1))
    (import "memory" "allocate" (func $allocate (param i32) (result i32)))
    (import "memory" "free" (func $free))
    (import "guest" "start" (func $start (param i32 i32 i32 i32)))
    (import "guest" "code" (func $code (param i32 i32 i32 i32)))

    (func (export "free") (param i32) (call $free))

    ;; The directions of the guest are false and true here.
    (func (export "start") (param $options i32) (param $count i32) (param $decrypt i32)
      (result i32)
      (call $start (local.get $options) (local.get $count) (local.get $decrypt) (i32.const 0))
      (i32.const 0))

    ;; Where the LFs are in the 16 bytes at $at, a bit for each, but for those from $end on.
    (func $line-feeds (param $at i32) (param $end i32) (result i32)
      (local $feeds i32)
      (local.set $feeds
        (i8x16.bitmask
          (i8x16.eq (v128.load (local.get $at)) (i8x16.splat (i32.const 10)))))
      (if (i32.lt_u (i32.sub (local.get $end) (local.get $at)) (i32.const 16))
        (then
          (local.set $feeds
            (i32.and (local.get $feeds)
              (i32.sub
                (i32.shl (i32.const 1) (i32.sub (local.get $end) (local.get $at)))
                (i32.const 1))))))
      (local.get $feeds))

    (func $count-lines (param $at i32) (param $end i32) (result i32)
      (local $count i32)
      (loop $step
        (if (i32.lt_u (local.get $at) (local.get $end))
          (then
            (local.set $count
              (i32.add (local.get $count)
                (i32.popcnt (call $line-feeds (local.get $at) (local.get $end)))))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br $step))))
      (local.get $count))

    ;; Make a list of the lines: 8 bytes each, where it begins and its length, no ending.
    (func $split (param $text i32) (param $end i32) (param $lines i32)
      (local $at i32) (local $feeds i32) (local $feed i32) (local $size i32)
      (local.set $at (local.get $text))
      (loop $step
        (if (i32.lt_u (local.get $at) (local.get $end))
          (then
            (local.set $feeds (call $line-feeds (local.get $at) (local.get $end)))
            (loop $next
              (if (local.get $feeds)
                (then
                  (local.set $feed (i32.add (local.get $at) (i32.ctz (local.get $feeds))))
                  (local.set $feeds
                    (i32.and (local.get $feeds) (i32.sub (local.get $feeds) (i32.const 1))))
                  (local.set $size (i32.sub (local.get $feed) (local.get $text)))
                  (if (local.get $size)
                    (then
                      (local.set $size
                        (i32.sub (local.get $size)
                          (i32.eq (i32.const 13)
                            (i32.load8_u (i32.sub (local.get $feed) (i32.const 1))))))))
                  (i32.store (local.get $lines) (local.get $text))
                  (i32.store offset=4 (local.get $lines) (local.get $size))
                  (local.set $lines (i32.add (local.get $lines) (i32.const 8)))
                  (local.set $text (i32.add (local.get $feed) (i32.const 1)))
                  (br $next))))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br $step)))))

    ;; Have the bytes for which the hexadecimal digits up to $end stand, at $to; they may take
    ;; the digits' place. Eight at a time, so that up to seven more are written.
    (func $from-hexadecimal (param $at i32) (param $end i32) (param $to i32)
      (local $digits v128)
      (loop $step
        (if (i32.lt_u (local.get $at) (local.get $end))
          (then
            (local.set $digits (v128.load (local.get $at)))
            ;; 0 to 9 have their value in four bits, and a to f 9 less than theirs.
            (local.set $digits
              (i8x16.add
                (v128.and (local.get $digits) (i8x16.splat (i32.const 15)))
                (v128.and
                  (i8x16.gt_u (local.get $digits) (i8x16.splat (i32.const 0x40)))
                  (i8x16.splat (i32.const 9)))))
            ;; The first digit of two is in the lower half of 16 bits.
            (local.set $digits
              (v128.or
                (v128.and
                  (i16x8.shl (local.get $digits) (i32.const 4)) (i16x8.splat (i32.const 0xf0)))
                (i16x8.shr_u (local.get $digits) (i32.const 8))))
            (v128.store64_lane 0 (local.get $to)
              (i8x16.narrow_i16x8_u (local.get $digits) (local.get $digits)))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (local.set $to (i32.add (local.get $to) (i32.const 8)))
            (br $step)))))

    ;; The reverse; up to seven bytes more are read, and their digits written.
    (func $to-hexadecimal (param $at i32) (param $end i32) (param $to i32)
      (local $bytes v128)
      (loop $step
        (if (i32.lt_u (local.get $at) (local.get $end))
          (then
            (local.set $bytes (v128.load8x8_u (local.get $at)))
            (v128.store (local.get $to)
              (i8x16.swizzle
                (v128.const i8x16 48 49 50 51 52 53 54 55 56 57 97 98 99 100 101 102)
                (v128.or
                  (i16x8.shr_u (local.get $bytes) (i32.const 4))
                  (v128.and
                    (i16x8.shl (local.get $bytes) (i32.const 8))
                    (i16x8.splat (i32.const 0x0f00))))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (local.set $to (i32.add (local.get $to) (i32.const 16)))
            (br $step)))))

    ;; Whether all bytes are ASCII, and what follows them up to a step's end.
    (func $is-ascii (param $at i32) (param $end i32) (result i32)
      (loop $step
        (if (i32.lt_u (local.get $at) (local.get $end))
          (then
            (if (i8x16.bitmask (v128.load (local.get $at))) (then (return (i32.const 0))))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br $step))))
      (i32.const 1))

    ;; Code whole lines. Returns the codes, each with the ending of its line, in the form that
    ;; text has too; the character before is 1 more if some lines have no code.
    (func (export "code") (param $transform i32) (param $text i32) (param $length i32)
      (result i32)
      (local $end i32) (local $count i32) (local $lines i32) (local $results i32)
      (local $n i32) (local $size i32) (local $rejected i32) (local $coded i32) (local $to i32)
      (local $form i32)
      (drop (call $allocate (i32.const 16))) ;; to be read past the end, in whole steps
      (local.set $end (i32.add (local.get $text) (local.get $length)))
      (local.set $form (i32.load8_u (local.get $text)))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (if (i32.eq (local.get $form) (i32.const 50))
        (then
          (call $from-hexadecimal (local.get $text) (local.get $end) (local.get $text))
          (local.set $end
            (i32.add
              (local.get $text)
              (i32.shr_u (i32.sub (local.get $end) (local.get $text)) (i32.const 1))))))
      (local.set $count (call $count-lines (local.get $text) (local.get $end)))
      (local.set $lines (call $allocate (i32.shl (local.get $count) (i32.const 3))))
      (call $split (local.get $text) (local.get $end) (local.get $lines))

      (call $code (local.get $transform) (local.get $lines) (local.get $count) (i32.const 0))
      (local.set $results (i32.load (i32.const 0)))
      (if (i32.ne (i32.load (i32.const 4)) (local.get $count)) (then unreachable))

      ;; The room that it takes: each result is 12 bytes, what it is, where, and its length.
      (local.set $size (i32.add (i32.const 1) (i32.shl (local.get $count) (i32.const 1))))
      (local.set $n (i32.const 0))
      (local.set $to (local.get $results))
      (loop $next
        (if (i32.lt_u (local.get $n) (local.get $count))
          (then
            (if (i32.load8_u (local.get $to))
              (then (local.set $rejected (i32.add (local.get $rejected) (i32.const 1))))
              (else
                (local.set $size
                  (i32.add (local.get $size) (i32.load offset=8 (local.get $to))))
                (if (i32.lt_s (local.get $size) (i32.const 0)) (then unreachable))))
            (local.set $to (i32.add (local.get $to) (i32.const 12)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br $next))))
      (local.set $coded (call $allocate (i32.add (local.get $size) (i32.const 16))))
      (i32.store (i32.const 8)
        (call $allocate (i32.mul (local.get $rejected) (i32.const 12))))
      (i32.store (i32.const 12) (local.get $rejected))
      (local.set $form (i32.add (i32.const 48) (i32.ne (local.get $rejected) (i32.const 0))))

      (local.set $to (i32.add (local.get $coded) (i32.const 1)))
      (local.set $rejected (i32.load (i32.const 8)))
      (local.set $n (i32.const 0))
      (loop $next
        (if (i32.lt_u (local.get $n) (local.get $count))
          (then
            (if (i32.load8_u (local.get $results))
              (then
                (i32.store (local.get $rejected) (local.get $n))
                (i64.store offset=4 align=4 (local.get $rejected)
                  (i64.load offset=4 align=4 (local.get $results)))
                (local.set $rejected (i32.add (local.get $rejected) (i32.const 12))))
              (else
                (local.set $size (i32.load offset=8 (local.get $results)))
                (memory.copy
                  (local.get $to) (i32.load offset=4 (local.get $results)) (local.get $size))
                (local.set $to (i32.add (local.get $to) (local.get $size)))))
            ;; A line's ending begins where the line ends.
            (if (i32.eq (i32.const 13)
                  (i32.load8_u
                    (i32.add
                      (i32.load (local.get $lines)) (i32.load offset=4 (local.get $lines)))))
              (then
                (i32.store16 align=1 (local.get $to) (i32.const 0x0a0d))
                (local.set $to (i32.add (local.get $to) (i32.const 2))))
              (else
                (i32.store8 (local.get $to) (i32.const 10))
                (local.set $to (i32.add (local.get $to) (i32.const 1)))))
            (local.set $lines (i32.add (local.get $lines) (i32.const 8)))
            (local.set $results (i32.add (local.get $results) (i32.const 12)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br $next))))
      (if (i32.eqz (call $is-ascii (i32.add (local.get $coded) (i32.const 1)) (local.get $to)))
        (then
          (local.set $form (i32.add (local.get $form) (i32.const 2)))
          (local.set $size (i32.sub (local.get $to) (local.get $coded)))
          (if (i32.ge_u (local.get $size) (i32.const 0x40000000)) (then unreachable))
          (local.set $n (call $allocate (i32.add (i32.shl (local.get $size) (i32.const 1)) (i32.const 16))))
          (call $to-hexadecimal
            (i32.add (local.get $coded) (i32.const 1))
            (local.get $to)
            (i32.add (local.get $n) (i32.const 1)))
          (local.set $coded (local.get $n))
          (local.set $to
            (i32.add (local.get $n)
              (i32.sub (i32.shl (local.get $size) (i32.const 1)) (i32.const 1))))))
      (i32.store8 (local.get $coded) (local.get $form))
      (i32.store (i32.const 0) (local.get $coded))
      (i32.store (i32.const 4) (i32.sub (local.get $to) (local.get $coded)))
      (i32.const 0))

    ;; Why lines were rejected at the last call: it is still there, until the next one.
    (func (export "rejections") (result i32) (i32.const 8)))

  (core instance $adapter
    (instantiate $adapter
      (with "memory" (instance $memory))
      (with "guest"
        (instance (export "start" (func $guest-start)) (export "code" (func $guest-code))))))
  (alias core export $adapter "free" (core func $free))

  (export "cipher" (instance $cipher))
  (func (export "start")
    (param "options" (list (tuple string string))) (param "decrypt" bool)
    (result (result u32 (error (tuple string string))))
    (canon lift (core func $adapter "start")
      string-encoding=utf8 (memory $bytes) (realloc $realloc) (post-return (core func $free))))
  (func (export "code") (param "transform" u32) (param "text" string) (result string)
    (canon lift (core func $adapter "code")
      string-encoding=utf8 (memory $bytes) (realloc $realloc) (post-return (core func $free))))
  (func (export "rejections") (result (list (tuple u32 string)))
    (canon lift (core func $adapter "rejections") string-encoding=utf8 (memory $bytes)))
  (func (export "copy") (param "transform" u32) (result u32) (canon lift (core func $guest-copy)))
  (func (export "drop") (param "transform" u32) (canon lift (core func $drop))))
